#!/usr/bin/env bash
# Sets everything up and runs lint, type check and every test on a real PostgreSQL. Arguments go to vitest:
#   ./scripts/test.sh packages/services        only these files
#   TEST_DATABASE_URL=postgresql://… ./scripts/test.sh     a server of yours instead of the embedded one
#   TEST_REDIS_URL=redis://… ./scripts/test.sh apps/worker  the queue tests on Redis, too
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
prepare_toolchain
step "Lint"
oxlint --deny-warnings
step "Type check"
pnpm exec turbo run typecheck --output-logs=errors-only
step "Tests"
exec vitest run "$@"
