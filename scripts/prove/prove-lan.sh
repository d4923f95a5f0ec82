#!/bin/bash
# unshare -rnm bash scripts/prove/prove-lan.sh [PETALS...]: three machines (network namespaces) on one switch
# without any other network meet by --lan in a private swarm; then the first is unplugged. Prints
# what each says and ends with 0 when both questions were answered alike. Default: bun src/cli/main.ts
set -eu
petals=("$@")
[ ${#petals[@]} -gt 0 ] || petals=(bun src/cli/main.ts)
home=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$home"' EXIT
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
ip link add br0 type bridge
ip link set br0 up
number=0
for name in a b c; do
  number=$((number + 1))
  ip netns add $name
  ip link add v$name type veth peer name eth0 netns $name
  ip link set v$name master br0 up
  ip -n $name addr add 10.77.0.$number/24 dev eth0
  ip -n $name link set eth0 up
  ip -n $name link set lo up
done

# NAME ARGS...: runs petals on a machine.
on() {
  local name=$1
  shift
  PETALS_HOME=$home/$name ip netns exec "$name" "${petals[@]}" "$@"
}

on a swarm create home
on a swarm invite home --label b --out "$home/b.invite"
on a swarm invite home --label c --may chat --out "$home/c.invite"

serve() {
  on "$1" join stories260k --lan --swarm "$2" 2>"$home/$1.log" &
  for _ in $(seq 120); do
    grep -q ^ready "$home/$1.log" && return
    sleep 0.5
  done
  cat "$home/$1.log"
  exit 1
}
serve a home
serve b "@$home/b.invite"
cat "$home/a.log" "$home/b.log"

ask() {
  on c chat stories260k 'Once upon a time' --raw --temperature 0 --max-tokens 20 --stats --lan \
    --swarm "@$home/c.invite" </dev/null
}
on c status stories260k --lan --swarm "@$home/c.invite"
first=$(ask)
ip link set va down
echo 'the first machine is unplugged'
started=$(date +%s%N)
second=$(ask)
echo "answered after $((($(date +%s%N) - started) / 1000000)) ms"
[ "$first" = "$second" ]
