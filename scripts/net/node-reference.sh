# sh scripts/net/node-reference.sh   (or source it and call `node_reference`)
# Installs the unmodified hyperdht stack with the real udx-native under .cache/node-ref, outside of the
# lock file: the reference that test/udx and scripts/bench/bench-udx.ts talk to under node. Idempotent.

node_reference() {
  reference_root=$(git rev-parse --show-toplevel)/.cache/node-ref
  reference_packages='hyperdht@6.34.0 udx-native@1.21.3 hyperswarm@4.17.2 @hyperswarm/secret-stream@6.9.2 dht-rpc@6.27.0 blind-relay@1.6.1'
  if [ "$(cat "$reference_root/installed" 2>/dev/null)" = "$reference_packages" ]; then
    return 0
  fi
  command -v npm >/dev/null 2>&1 || {
    echo 'The UDX reference needs node and npm in PATH' >&2
    return 1
  }
  mkdir -p "$reference_root" || return 1
  # A package.json of its own, so npm does not climb up to the project's.
  printf '{ "private": true }\n' >"$reference_root/package.json"
  # shellcheck disable=SC2086 # one argument for each package
  npm install --prefix "$reference_root" --no-save --no-audit --no-fund --no-package-lock \
    --loglevel=error $reference_packages >&2 || return 1
  printf '%s' "$reference_packages" >"$reference_root/installed"
}

case ${0##*/} in node-reference.sh) node_reference ;; esac
