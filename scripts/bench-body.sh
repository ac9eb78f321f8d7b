#!/usr/bin/env bash
# Measures how fast bodies of requests are read; see `./scripts/bench-body.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/body/main.ts "$@"
