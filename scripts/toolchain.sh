# Sourced by every script here that runs the product: brings the pinned toolchain up from nothing but Bash, Node >= 20 and npm.
# Node 24 and every tool come from npm packages in the lock file; pnpm itself is run by npx at an exact version.
# Afterwards the pinned `node` and all tools are first on PATH, and the working directory is the repository root.

PNPM_VERSION=12.21.0
export TURBO_TELEMETRY_DISABLED=1 DO_NOT_TRACK=1 npm_config_update_notifier=false npm_config_loglevel=error

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

step() { printf '%s\n' "── $*"; }

# Answers --help and --version from what is in the checkout, so that nothing has to be installed to read them.
answer_without_installation() {
  local help=$1
  shift
  case "${1:-}" in
  -h | --help) cat "$(dirname "${BASH_SOURCE[0]}")/$help" ;;
  -V | --version) sed -n 's/^  "version": "\(.*\)",$/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../package.json" ;;
  *) return 0 ;;
  esac
  exit 0
}

pnpm() { npx --yes "pnpm@$PNPM_VERSION" "$@"; }

# What npm was told of registry, CA file and proxies holds for pnpm too, which reads .npmrc but none of npm's variables.
adopt_npm_settings() {
  local registry cafile proxy
  registry=$(npm config get registry) && [ "$registry" != null ] && export pnpm_config_registry="$registry"
  cafile=$(npm config get cafile) && [ "$cafile" != null ] && export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$cafile}"
  proxy=$(npm config get https-proxy) && [ "$proxy" != null ] && export HTTPS_PROXY="${HTTPS_PROXY:-$proxy}"
  return 0
}

# The one fetch that every command needs. Silent but for one line; what pnpm said is shown where it failed.
install_dependencies() {
  [ -w . ] || fail "$(id -un) cannot write to $PWD, where the dependencies are installed. Use a checkout of your own."
  step "Installing dependencies (npm packages only: tools, Node 24, PostgreSQL 18)"
  local log said
  log=$(mktemp)
  adopt_npm_settings
  if ! pnpm install --frozen-lockfile --reporter=append-only >"$log" 2>&1; then
    said=$(cat "$log")
    rm -f "$log"
    printf '%s\n' "$said" >&2
    fail "The dependencies could not be installed; the lines above say why. $(installation_hint "$said")"
  fi
  rm -f "$log"
}

installation_hint() {
  case "$1" in
  *"ermission denied"* | *EACCES* | *EROFS* | *"ead-only file system"*) printf '%s' "$(id -un) must be able to write to $PWD and to npm's cache." ;;
  *ENOSPC* | *"o space left"*) printf '%s' "Make room on the disk: about 1 GB." ;;
  *certificate*) printf '%s' "Name your authority to npm: npm config set cafile FILE." ;;
  *) printf '%s' "Check that the npm registry is reachable: $(npm config get registry)." ;;
  esac
}

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
    install_dependencies
    dependency_fingerprint >"$stamp"
  fi
  PATH="$PWD/node_modules/.bin:$PATH"
  export PATH
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 24 ] || fail "There is no pinned Node 24 for this platform; install Node 24 yourself (found $(node --version))."
}
