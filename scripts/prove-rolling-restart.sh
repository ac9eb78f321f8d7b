#!/usr/bin/env bash
# Restarts two LLM proxies in turn under streaming load, then kills one; see `./scripts/prove-rolling-restart.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/prove/rolling-restart.ts "$@"
