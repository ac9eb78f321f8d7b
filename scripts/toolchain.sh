# Sourced by dev-start.sh and test.sh: brings the pinned toolchain up from nothing but Bash, Node >= 20 and npm.
# Node 24 and every tool come from npm packages in the lock file; pnpm itself is run by npx at an exact version.
# Afterwards the pinned `node` and all tools are first on PATH, and the working directory is the repository root.

PNPM_VERSION=12.21.0
export TURBO_TELEMETRY_DISABLED=1 DO_NOT_TRACK=1 npm_config_update_notifier=false npm_config_loglevel=error

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

step() { printf '%s\n' "── $*"; }

pnpm() { npx --yes "pnpm@$PNPM_VERSION" "$@"; }

# What was installed last: the lock file and every manifest. Unchanged means nothing to do, and no call to the registry.
dependency_fingerprint() { cat pnpm-lock.yaml pnpm-workspace.yaml package.json apps/*/package.json packages/*/package.json scripts/package.json | cksum; }

prepare_toolchain() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
  command -v node >/dev/null || fail "Node is not installed. Install Node 20 or newer (with npm), then run this again."
  command -v npx >/dev/null || fail "npm is not installed (no npx on PATH). Install it beside Node, then run this again."
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node $(node --version) is too old: Node 20 or newer is needed to fetch the pinned Node 24."

  local stamp=node_modules/.dependencies-installed
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(dependency_fingerprint)" ]; then
    step "Installing dependencies (npm packages only: tools, Node 24, PostgreSQL 18)"
    pnpm install --frozen-lockfile --reporter=append-only ||
      fail "The dependencies could not be installed; the lines above say why. Check that the npm registry is reachable."
    dependency_fingerprint >"$stamp"
  fi
  PATH="$PWD/node_modules/.bin:$PATH"
  export PATH
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 24 ] || fail "There is no pinned Node 24 for this platform; install Node 24 yourself (found $(node --version))."
}
