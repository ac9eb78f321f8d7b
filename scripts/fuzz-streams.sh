#!/usr/bin/env bash
# Fuzzes the LLM proxy with mutated streams of a provider; see `./scripts/fuzz-streams.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/fuzz-streams.sh, or bash scripts/fuzz-streams.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain >&2
exec node scripts/fuzz/streams.ts "$@"
