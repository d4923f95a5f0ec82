# sh scripts/demo.sh [question]
# From nothing to an answer: installs, builds ./petals, fetches a small real chat model, starts a swarm of
# its own on loopback (a DHT node and three servers), asks, shows how fast it was and who computed what.
# Leaves nothing running; downloads stay in the user's cache, so the second run is quick.

set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/setup.sh"

model=smollm2-135m
question=${1:-'Why is the sky blue? Answer in two sentences.'}
ready_s=180
logs=$(mktemp -d)
pids=''

say() { printf '\n== %s\n' "$1" >&2; }

# Tells what went wrong, with the end of the log of whoever failed.
fail() { # what, log
  printf '\ndemo: %s\n' "$1" >&2
  if [ -n "${2:-}" ] && [ -s "$logs/$2" ]; then
    printf -- '-- the end of what `%s` said:\n' "$2" >&2
    tail -n 20 "$logs/$2" >&2
  fi
  exit 1
}

stop() {
  code=$?
  trap - EXIT
  trap '' INT TERM HUP
  for pid in $pids; do kill -TERM "$pid" 2>/dev/null || :; done
  # A server says goodbye to the swarm; one that takes over ten seconds is killed.
  waited=0
  for pid in $pids; do
    while kill -0 "$pid" 2>/dev/null && [ "$waited" -lt 50 ]; do
      sleep 0.2
      waited=$((waited + 1))
    done
    kill -KILL "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
  done
  rm -rf "$logs"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts ./petals with its output in a log.
launch() { # log, arguments...
  log=$1
  shift
  "$root/petals" "$@" </dev/null >"$logs/$log" 2>&1 &
  pids="$pids $!"
}

# Waits for a line in a log, as long as the program runs and the time is not up.
await() { # log, pid, pattern
  waited=0
  until grep -q "$3" "$logs/$1" 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || fail "'petals $1' ended before it was ready" "$1"
    [ "$waited" -lt $((ready_s * 5)) ] || fail "'petals $1' was not ready after $ready_s s" "$1"
    sleep 0.2
    waited=$((waited + 1))
  done
}

say 'building ./petals'
bun "$root/scripts/build.ts" || fail 'the build failed; its message is above'
"$root/petals" --version

say 'a DHT node of our own'
launch bootstrap bootstrap --host 127.0.0.1 --port 0
await bootstrap "$!" '^[0-9.]*:[0-9]*$'
address=$(grep -m 1 '^[0-9.]*:[0-9]*$' "$logs/bootstrap")
printf 'bootstrap node at %s\n' "$address" >&2

# Asking for its status brings a model, with progress on a terminal.
say "the model $model (98 MB, the first time)"
"$root/petals" status "$model" --bootstrap "$address" --json >"$logs/status" ||
  fail "the model could not be fetched; the message is above"

say 'three servers'
for blocks in 0:10 10:20 20:30; do
  launch "join $blocks" join "$model" --bootstrap "$address" --blocks "$blocks"
  await "join $blocks" "$!" '^ready'
  grep -m 1 '^ready' "$logs/join $blocks" >&2
done
"$root/petals" status "$model" --bootstrap "$address" >&2 || fail 'the swarm is not complete'

say "$question"
printf '%s\n' "$question" |
  "$root/petals" chat "$model" --bootstrap "$address" --temperature 0 --max-tokens 160 --stats ||
  fail 'the chat failed; its message is above'
printf '\n'
