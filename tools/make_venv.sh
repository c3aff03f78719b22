#!/bin/bash
# Makes a virtual environment, or says what is missing.     tools/make_venv.sh PYTHON FOLDER
# An environment that is there already and works is kept.
set -euo pipefail
python=$1 folder=$2

command -v "$python" >/dev/null || { echo "make: no '$python' here; install Python 3.11 or newer, or say PYTHON=/path/to/python" >&2; exit 2; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "make: Holdfast needs Python 3.11 or newer, and '$python' is $("$python" -V 2>&1); say PYTHON=/path/to/python" >&2; exit 2; }

"$folder/bin/python" -m pip --version >/dev/null 2>&1 && exit 0

if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian keeps it in a package of its own
  sudo=""; [ "$(id -u)" = 0 ] || sudo="sudo"
  if command -v apt-get >/dev/null && { [ -z "$sudo" ] || command -v sudo >/dev/null; }; then
    echo "make: installing python3-venv, which '$python' needs to make a virtual environment"
    $sudo apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends python3-venv >/dev/null
  else
    echo "make: '$python' cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2
  fi
fi
"$python" -m venv "$folder"
