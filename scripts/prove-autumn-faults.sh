#!/usr/bin/env bash
# The real worker against every way in which an answer of Autumn's goes wrong; see `./scripts/prove-autumn-faults.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-autumn-faults.sh, or bash scripts/prove-autumn-faults.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/prove-autumn-faults/main.ts "$@"
