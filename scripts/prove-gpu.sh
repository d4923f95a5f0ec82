#!/bin/sh
# sh scripts/prove-gpu.sh pack            here: what a GPU's machine lacks, in .cache/gpu/1, 2, ...
# sh scripts/prove-gpu.sh take FOLDER     there: keeps a folder's pieces outside of the tree
# sh scripts/prove-gpu.sh run             there: joins them and proves, in under ten minutes
# sh scripts/prove-gpu.sh here            the same parts by onnxruntime's CPU provider, without a GPU
# For a bare machine (Linux x64) with a driver, PyTorch of CUDA 13 (whose packages have CUDA's
# libraries and cuDNN) and no network. Packed are the proof with the program in one executable, and
# onnxruntime's CUDA provider; no folder is over 60 MB, since that is what one visit may carry.
set -eu
cd "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
gpu=.cache/gpu
kept=${PETALS_GPU:-/tmp/petals-gpu}
limit_s=560

fail() {
  echo "prove-gpu: $1" >&2
  exit 2
}

build() {
  root=$PWD
  . scripts/setup.sh
  bun scripts/gpu/build.ts "$1"
}

pack() {
  rm -rf "$gpu"
  mkdir -p "$gpu/all/cuda"
  build "$gpu/all/prove-gpu"
  # The wheel by its pinned hash, as petals doctor --install-cuda takes it.
  bun scripts/gpu/provider.ts "$gpu/wheel" "$gpu/all/cuda"
  tar -C "$gpu/all" -czf - . | split -b 50m -a 3 -d - "$gpu/piece-"
  number=0
  for piece in "$gpu"/piece-*; do
    number=$((number + 1))
    mkdir "$gpu/$number"
    mv "$piece" "$gpu/$number/"
  done
  echo "$number" >"$gpu/1/count"
  rm -rf "$gpu/all" "$gpu/wheel"
  echo "$number folders in $gpu: carry each once and take it there, then run there"
}

take() {
  [ -d "${1:-}" ] || fail 'take needs a folder of pieces'
  mkdir -p "$kept"
  mv "$1"/* "$kept/"
  echo "$(ls "$kept"/piece-* | wc -l) pieces of $(cat "$kept/count" 2>/dev/null || echo '?') are there"
}

run() {
  if [ ! -x "$kept/all/prove-gpu" ]; then
    [ "$(ls "$kept"/piece-* 2>/dev/null | wc -l)" = "$(cat "$kept/count" 2>/dev/null)" ] ||
      fail "pieces are missing in $kept: pack, then take each folder"
    mkdir -p "$kept/all"
    cat "$kept"/piece-* | tar -C "$kept/all" -xzf -
  fi
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
  # Folders of the libraries that PyTorch's packages brought.
  LD_LIBRARY_PATH=$(python3 -c 'import glob, os, nvidia
print(":".join(sorted({os.path.dirname(f) for p in nvidia.__path__
                       for f in glob.glob(p + "/**/lib*.so*", recursive=True)})))' || true)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
  # Bytes read and written by a copy of a GB, the bandwidth that can be had.
  bandwidth=$(python3 -c 'import torch
a = torch.empty(2**28, device="cuda"); b = torch.empty_like(a); b.copy_(a)
s, e = (torch.cuda.Event(enable_timing=True) for _ in range(2))
torch.cuda.synchronize(); s.record()
for _ in range(20): b.copy_(a)
e.record(); torch.cuda.synchronize()
print(int(20 * 2 * 2**30 / (s.elapsed_time(e) / 1000)))') || bandwidth=
  echo "device memory: ${bandwidth:-unknown} bytes a second"
  timeout "$limit_s" "$kept/all/prove-gpu" --device cuda --folder "$kept/work" --root . \
    --cuda "$kept/all/cuda" ${bandwidth:+--bandwidth "$bandwidth"}
}

here() {
  build "$gpu/here/prove-gpu"
  timeout "$limit_s" "$gpu/here/prove-gpu" --device onnx-cpu --folder "$gpu/work"
}

case ${1:-} in
pack | run | here) "$1" ;;
take) take "${2:-}" ;;
*)
  sed -n '2,8s/^# //p' "$0"
  exit 2
  ;;
esac
