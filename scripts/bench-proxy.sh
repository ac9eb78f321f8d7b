#!/usr/bin/env bash
# Measures the LLM proxy against two references in the same run; see `./scripts/bench-proxy.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/bench-proxy.sh, or bash scripts/bench-proxy.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/proxy/main.ts "$@"
