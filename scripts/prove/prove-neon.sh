#!/bin/sh
# sh scripts/prove/prove-neon.sh: matrix products of every form have the same bits in plain C, AVX2 and
# AVX-512, and on arm64 in plain C and NEON under qemu. Needs zig (setup.sh) or `python3 -m ziglang`, and on
# Debian: apt-get install qemu-user-static libc6-arm64-cross
set -eu
cd "$(dirname "$0")/../.."
zig=.cache/tools/zig/ziglang/zig
[ -x "$zig" ] || zig=$(command -v zig || true)
[ -n "$zig" ] || zig="python3 -m ziglang"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0

# NAME TARGET CPU RUNNER...: compiles and runs; the first result is what the others are held against.
prove() {
  name=$1 target=$2 cpu=$3
  shift 3
  $zig cc -target "$target" "-mcpu=$cpu" -O3 -ffp-contract=off scripts/prove/products.c -o "$work/$name"
  "$@" "$work/$name" >"$work/$name.txt" || faults=1
  [ -e "$work/first" ] || cp "$work/$name.txt" "$work/first"
  if cmp -s "$work/first" "$work/$name.txt"; then
    echo "$name: $(sha256sum <"$work/$name.txt" | cut -c 1-16)"
  else
    echo "$name differs:"
    diff "$work/first" "$work/$name.txt" || true
    faults=1
  fi
}

prove plain x86_64-linux-gnu x86_64 env
grep -q ' avx2 ' /proc/cpuinfo && prove avx2 x86_64-linux-gnu x86_64_v3 env
grep -q ' avx512_vnni ' /proc/cpuinfo && prove avx512 x86_64-linux-gnu x86_64_v4+avx512vnni env
prove arm64-plain aarch64-linux-gnu generic qemu-aarch64-static -L /usr/aarch64-linux-gnu
prove arm64-neon aarch64-linux-gnu generic+dotprod qemu-aarch64-static -L /usr/aarch64-linux-gnu
exit $faults
