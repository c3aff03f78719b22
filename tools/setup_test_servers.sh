#!/bin/bash
# Installs the real programs that some tests run: PostgreSQL, nginx, Chromium, user-mode Linux and e2fsprogs.
# From Debian's (or Ubuntu's) packages, as root or through sudo; starts nothing. Does nothing where all are there.
#
# Where it cannot install it says what is missing, and the tests that need it are skipped by name. With
# HOLDFAST_REQUIRE=postgres,nginx,... such a skip fails the run (tests/plugins/needs.py), so nothing is hidden.
set -euo pipefail

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

missing=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb || missing+=(postgresql)
has nginx || missing+=(nginx-light)
has chromium || has chromium-browser || missing+=(chromium)
has linux.uml || missing+=(user-mode-linux)
# processors with AMX need an adapter for user-mode Linux, which is compiled (holdfast.testing.user_mode_linux)
! grep -qsw amx_tile /proc/cpuinfo || has cc || has gcc || missing+=(gcc)
has mkfs.ext4 && has debugfs || missing+=(e2fsprogs)
[ ${#missing[@]} -gt 0 ] || exit 0

by_hand="apt-get install --no-install-recommends ${missing[*]}"
sudo=()
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo=(sudo)
  else
    echo "test servers: not root and no sudo, so these stay missing: ${missing[*]}. By hand: sudo $by_hand" >&2
    exit 0
  fi
fi
if ! command -v apt-get >/dev/null; then
  echo "test servers: no apt-get here; install what your system calls ${missing[*]}" >&2
  exit 0
fi

echo "test servers: installing ${missing[*]}"
"${sudo[@]}" apt-get -q update >/dev/null || true
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# RUNLEVEL=1: their services are not started; every test starts its own, on its own port.
if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=600 install -y \
    --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "test servers: apt-get could not install them all; by hand: sudo $by_hand" >&2
fi
