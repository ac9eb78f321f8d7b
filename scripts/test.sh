#!/usr/bin/env bash
# Sets everything up and runs the formatter's check, lint, type check and every test on a real PostgreSQL; see `./scripts/test.sh --help`.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/test.sh, or bash scripts/test.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
answer_without_installation help/test.txt "$@"
prepare_toolchain
step "Lint"
oxfmt --check . >/dev/null || fail "Some files are not formatted. Run: pnpm format"
oxlint --deny-warnings
step "Type check"
pnpm exec turbo run typecheck --output-logs=errors-only
step "Tests"
exec vitest run "$@"
