# sh scripts/setup.sh   (test.sh, demo.sh and .ci/run source it instead: they want the PATH it sets)
# Makes a bare machine with node and npm ready: the pinned bun, then the locked dependencies.
# Quiet, idempotent, about 0.1 s when there is nothing to do; works from any folder.

setup_bun_version=1.4.5
setup_zig_version=0.16.0
# Who sources this says where the project is in `root`.
setup_root=${root:-}
[ -f "$setup_root/scripts/setup.sh" ] ||
  setup_root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
setup_tools=$setup_root/.cache/tools

setup_fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

# Whether the command is the pinned bun. A blocked install script leaves a placeholder that fails here.
setup_is_bun() {
  [ "$("$1" --version 2>/dev/null </dev/null)" = "$setup_bun_version" ]
}

# Leaves bun in $setup_tools/bin when one of the binaries that npm brought answers.
# Without its install script npm's `bun` is a placeholder; the real one lies in @oven/bun-<platform>.
setup_link_bun() {
  for setup_candidate in "$setup_tools"/node_modules/bun/bin/bun.exe \
    "$setup_tools"/node_modules/@oven/bun-*/bin/bun; do
    if setup_is_bun "$setup_candidate"; then
      mkdir -p "$setup_tools/bin" || setup_fail "cannot write to $setup_tools"
      ln -sf "$setup_candidate" "$setup_tools/bin/bun.$$" &&
        mv -f "$setup_tools/bin/bun.$$" "$setup_tools/bin/bun"
      return
    fi
  done
  return 1
}

setup_install_bun() {
  command -v npm >/dev/null 2>&1 || setup_fail 'npm is not in PATH: it brings bun; install Node.js'
  mkdir -p "$setup_tools" || setup_fail "cannot write to $setup_tools"
  printf 'setup: installing bun %s\n' "$setup_bun_version" >&2
  # In $setup_tools, or npm would read the project's package.json.
  (
    cd "$setup_tools" &&
      npm install --prefix "$setup_tools" --no-save --no-package-lock --no-audit --no-fund \
        --include=optional --loglevel=error "bun@$setup_bun_version" </dev/null >&2
  ) || setup_fail "npm could not install bun@$setup_bun_version; its message is above"
  setup_link_bun ||
    setup_fail "the bun that npm installed does not run here: $(uname -s) $(uname -m) is not supported"
}

command -v node >/dev/null 2>&1 ||
  setup_fail 'node is not in PATH: install Node.js 20 or newer, which brings npm'

if ! setup_is_bun bun; then
  setup_is_bun "$setup_tools/bin/bun" || setup_link_bun || setup_install_bun
  PATH=$setup_tools/bin:$PATH
  export PATH
fi

# zig compiles the kernels, for every target; without it the system's compiler does, for this machine alone.
setup_install_zig() {
  python3 -m pip --version >/dev/null 2>&1 </dev/null || return 0
  printf 'setup: installing zig %s\n' "$setup_zig_version" >&2
  # Whole or not at all: it is there when its folder is.
  rm -rf "$setup_tools/zig.$$"
  if python3 -m pip install --quiet --disable-pip-version-check --no-deps --root-user-action=ignore \
    --target "$setup_tools/zig.$$" "ziglang==$setup_zig_version" </dev/null >&2; then
    [ -d "$setup_tools/zig" ] || mv "$setup_tools/zig.$$" "$setup_tools/zig"
  else
    printf 'setup: pip could not install zig %s: the system'"'"'s C compiler is used\n' \
      "$setup_zig_version" >&2
  fi
  rm -rf "$setup_tools/zig.$$"
}

[ -d "$setup_tools/zig" ] || setup_install_zig

# The onnxruntime package would else download CUDA libraries in its install script.
setup_log=$(ONNXRUNTIME_NODE_INSTALL=skip bun install --cwd "$setup_root" --frozen-lockfile \
  </dev/null 2>&1) || {
  printf '%s\n' "$setup_log" >&2
  setup_fail 'bun could not install the dependencies; its message is above'
}
