# sh scripts/test.sh [options of scripts/check.ts]
# Sets everything up and passes the one gate; the exit code is the gate's.

set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/scripts/setup.sh"

cd "$root"
# The real udx-native, which the tests of src/udx talk to under node.
if [ -f scripts/net/node-reference.sh ]; then sh scripts/net/node-reference.sh; fi

exec bun scripts/check.ts "$@"
