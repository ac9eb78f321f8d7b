#!/usr/bin/env bash
# Simulates billing on a real PostgreSQL with seeded crashes, faults and clocks; see `./scripts/simulate-billing.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/simulate-billing/main.ts "$@"
