#!/usr/bin/env bash
# What each field of LiteLLM's keys, teams and budgets does, on ours and on a real LiteLLM; see `./scripts/prove-litellm-fields.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-litellm-fields.sh, or bash scripts/prove-litellm-fields.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain >&2
exec node scripts/prove-litellm-fields/main.ts "$@"
