#!/usr/bin/env bash
# LiteLLM's own Python client and command line against our engine; see `./scripts/prove-litellm-client.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/prove-litellm-client.sh, or bash scripts/prove-litellm-client.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain >&2
exec node scripts/prove-litellm-client/main.ts "$@"
