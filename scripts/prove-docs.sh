#!/usr/bin/env bash
# Runs the commands of the documentation, line by line, on a development stack of its own; see `./scripts/prove-docs.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-docs.sh, or bash scripts/prove-docs.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
answer_without_installation prove-docs/usage.txt "$@"
prepare_toolchain >&2
exec node scripts/prove-docs/main.ts "$@"
