#!/usr/bin/env bash
# Fills a database and measures every statement that runs by itself or for each request; see `./scripts/bench-scale.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/bench/scale/main.ts "$@"
