#!/bin/sh
# sh scripts/prove/prove-neon.sh: matrix products of every form, and whole blocks on a pool of threads,
# have the same bits in plain C, AVX2, AVX-512 and AMX, and on arm64 in plain C, NEON and i8mm under qemu. Takes
# 2 minutes of a CPU. Needs zig (setup.sh) or `python3 -m ziglang`, and on Debian:
# apt-get install qemu-user-static libc6-arm64-cross
set -eu
cd "$(dirname "$0")/../.."
zig=.cache/tools/zig/ziglang/zig
[ -x "$zig" ] || zig=$(command -v zig || true)
[ -n "$zig" ] || zig="python3 -m ziglang"
command -v qemu-aarch64-static >/dev/null || {
  echo 'prove-neon: qemu-aarch64-static is needed: apt-get install qemu-user-static libc6-arm64-cross' >&2
  exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
# All but what others include, and what stands for a C library.
kernels=$(find src/kernels/c -name '*.c' ! -name pack.c ! -name rows.c ! -name freestanding.c)

# PROGRAM NAME TARGET CPU RUNNER...: compiles and runs; the first result is what the others are held
# against.
prove_one() {
  program=$1 name=$2 target=$3 cpu=$4
  shift 4
  # products.c has the products inside.
  [ "$program" = products ] && sources=src/kernels/c/system/cpu.c || sources=$kernels
  # shellcheck disable=SC2086
  $zig cc -target "$target" "-mcpu=$cpu" -O3 -ffp-contract=off -Wno-psabi $sources \
    "scripts/prove/$program.c" -o "$work/$name"
  "$@" "$work/$name" >"$work/$name.txt" || faults=1
  [ -e "$work/first-$program" ] || cp "$work/$name.txt" "$work/first-$program"
  if cmp -s "$work/first-$program" "$work/$name.txt"; then
    echo "$program $name: $(sha256sum <"$work/$name.txt" | cut -c 1-16)"
  else
    echo "$program $name differs:"
    diff "$work/first-$program" "$work/$name.txt" || true
    faults=1
  fi
}

prove() {
  prove_one products "$@"
  prove_one blocks "$@"
}

prove plain x86_64-linux-gnu x86_64 env
grep -q ' avx2 ' /proc/cpuinfo && prove avx2 x86_64-linux-gnu x86_64_v3 env
grep -q ' avx512_vnni ' /proc/cpuinfo && prove avx512 x86_64-linux-gnu x86_64_v4+avx512vnni env
grep -q ' amx_int8 ' /proc/cpuinfo &&
  prove amx x86_64-linux-gnu x86_64_v4+avx512vnni+amx_tile+amx_int8 env
prove arm64-plain aarch64-linux-gnu generic qemu-aarch64-static -L /usr/aarch64-linux-gnu
prove arm64-neon aarch64-linux-gnu generic+dotprod qemu-aarch64-static -L /usr/aarch64-linux-gnu
prove arm64-i8mm aarch64-linux-gnu generic+dotprod+i8mm qemu-aarch64-static -cpu max -L /usr/aarch64-linux-gnu
exit $faults
