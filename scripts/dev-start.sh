#!/usr/bin/env bash
# Sets everything up and starts the whole product on this machine; see `./scripts/dev-start.sh --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
exec node scripts/dev-stack/main.ts "$@"
