#!/usr/bin/env bash
# The real clients against our engine; see `./scripts/prove-clients.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-clients.sh, or bash scripts/prove-clients.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain >&2
exec node scripts/prove-clients/main.ts "$@"
