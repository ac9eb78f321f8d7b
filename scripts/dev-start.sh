#!/usr/bin/env bash
# Sets everything up and starts the whole product on this machine; see `./scripts/dev-start.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/dev-start.sh, or bash scripts/dev-start.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
answer_without_installation dev-stack/usage.txt "$@"
prepare_toolchain
exec node scripts/dev-stack/main.ts "$@"
