#!/usr/bin/env bash
# Restarts two LLM proxies in turn under streaming load, then kills one; see `./scripts/prove-rolling-restart.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-rolling-restart.sh, or bash scripts/prove-rolling-restart.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/prove/rolling-restart.ts "$@"
