#!/usr/bin/env bash
# Kills billing processes under load and compares every sum; see `./scripts/kill-billing.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/kill-billing.sh, or bash scripts/kill-billing.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/kill-billing/main.ts "$@"
