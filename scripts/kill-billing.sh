#!/usr/bin/env bash
# Kills billing processes under load and compares every sum; see `./scripts/kill-billing.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/kill-billing/main.ts "$@"
