#!/bin/sh
# sh scripts/prove/prove-cpus.sh: servers on an x64 processor without AVX (Nehalem, 2008), on one with
# AVX2 and on arm64, all under qemu, and one of this machine: the same answer from each. Builds the
# executables for it. Needs on Debian: apt-get install qemu-user-static libstdc++6-arm64-cross
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
. "$root/scripts/setup.sh"
cd "$root"
for tool in qemu-x86_64-static qemu-aarch64-static; do
  command -v $tool >/dev/null || {
    echo "prove-cpus: $tool is needed: apt-get install qemu-user-static libstdc++6-arm64-cross" >&2
    exit 2
  }
done
work=$(mktemp -d)
pids=
# shellcheck disable=SC2064,SC2086
trap 'kill $pids 2>/dev/null || true; wait; rm -rf "$work"' EXIT INT TERM
own=$work/own
bun scripts/build.ts --out "$own"
bun scripts/build.ts --target linux-x64 --out "$work/x64"
bun scripts/build.ts --target linux-arm64 --out "$work/arm64"

# FILE PATTERN: waits until a line of the file matches, while the last program lives.
await() {
  for _ in $(seq 120); do
    grep -q "$2" "$1" 2>/dev/null && return
    kill -0 $! 2>/dev/null || break
    sleep 1
  done
  echo "prove-cpus: no '$2' came:" >&2
  cat "$1" >&2
  exit 1
}

PETALS_HOME=$work/home-bootstrap "$own" bootstrap --host 127.0.0.1 --port 0 >"$work/address" &
pids=$!
await "$work/address" ':'
via="--bootstrap $(cat "$work/address")"
first=
faults=0

# NAME PROGRAM...: serves the whole model by the program, asks it, and ends it.
prove() {
  name=$1
  shift
  kernels=$("$@" --version 2>/dev/null | sed -n 's/^kernels //p')
  # shellcheck disable=SC2086
  PETALS_HOME=$work/home-$name "$@" join stories260k --blocks 0:5 $via >"$work/$name.log" 2>&1 &
  server=$!
  pids="$pids $server"
  await "$work/$name.log" '^ready'
  # shellcheck disable=SC2086
  PETALS_HOME=$work/home-client "$own" chat stories260k $via --raw --temperature 0 --max-tokens 100 \
    'Once upon a time' 2>/dev/null | sha256sum | cut -c 1-16 >"$work/hash"
  kill $server
  wait $server || true
  hash=$(cat "$work/hash")
  first=${first:-$hash}
  [ "$hash" = "$first" ] || faults=1
  echo "$hash  $kernels  $name"
}

prove this-machine "$own"
prove nehalem qemu-x86_64-static -cpu Nehalem "$work/x64"
prove haswell qemu-x86_64-static -cpu Haswell "$work/x64"
prove arm64 qemu-aarch64-static -L /usr/aarch64-linux-gnu "$work/arm64"
[ $faults = 0 ] || echo 'prove-cpus: the answers differ' >&2
exit $faults
