#!/usr/bin/env bash
# Simulates billing on a real PostgreSQL with seeded crashes, faults and clocks; see `./scripts/simulate-billing.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/simulate-billing.sh, or bash scripts/simulate-billing.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/simulate-billing/main.ts "$@"
