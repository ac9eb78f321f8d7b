#!/usr/bin/env bash
# Proves that the LLM proxy holds its memory under attack; see `./scripts/prove-memory.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-memory.sh, or bash scripts/prove-memory.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
# Each connection is a file; 10,000 of them and the others need more than most shells allow.
ulimit -n "$(ulimit -Hn)"
exec node scripts/prove-memory/main.ts "$@"
