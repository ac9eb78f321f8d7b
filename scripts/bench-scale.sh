#!/usr/bin/env bash
# Fills a database and measures every statement that runs by itself or for each request; see `./scripts/bench-scale.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/bench-scale.sh, or bash scripts/bench-scale.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/scale/main.ts "$@"
