#!/usr/bin/env bash
# Measures billing against two references in the same run; see `./scripts/bench-billing.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/bench-billing.sh, or bash scripts/bench-billing.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/billing/main.ts "$@"
