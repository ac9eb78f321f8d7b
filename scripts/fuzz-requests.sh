#!/usr/bin/env bash
# Fuzzes the LLM proxy with mutated requests; see `./scripts/fuzz-requests.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/fuzz-requests.sh, or bash scripts/fuzz-requests.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain >&2
exec node scripts/fuzz/requests.ts "$@"
