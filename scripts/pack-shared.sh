#!/usr/bin/env bash
# Builds @proliferate/shared and packs it as it would be published, for a project that is not in this repository:
#   ./scripts/pack-shared.sh [FOLDER]     the folder that gets the tarball, made if it is not there; default: dist/
# Prints what to install it with; the last line of stdout is the tarball's path.
[ -n "${BASH_VERSION:-}" ] || { echo "This needs Bash: run ./scripts/pack-shared.sh, or bash scripts/pack-shared.sh." >&2; exit 2; }
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
case "${1:-}" in
-h | --help)
  sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
  ;;
-*)
  printf '%s\n' "Unknown option $1; --help says what there is." >&2
  exit 2
  ;;
esac
prepare_toolchain >&2
mkdir -p "${1:-dist}"
target=$(cd "${1:-dist}" && pwd)
cd packages/shared
pnpm pack --pack-destination "$target" >&2
tarball="$target/proliferate-shared-$(node -p 'require("./package.json").version').tgz"
[ -f "$tarball" ] || fail "The package was built, but $tarball is not there."
printf '%s\n' "In your project: npm install $tarball" "$tarball"
