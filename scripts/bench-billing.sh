#!/usr/bin/env bash
# Measures billing against two references in the same run; see `./scripts/bench-billing.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/billing/main.ts "$@"
