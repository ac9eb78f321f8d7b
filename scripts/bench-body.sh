#!/usr/bin/env bash
# Measures how fast bodies of requests are read; see `./scripts/bench-body.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/bench-body.sh, or bash scripts/bench-body.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/body/main.ts "$@"
