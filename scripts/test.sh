#!/usr/bin/env bash
# Install what is missing and run the tests.
#   scripts/test.sh [--slow] [pytest's arguments]
# The environment is kept outside the checkout and reused while the dependency files and $PYTHON are unchanged;
# $RFDN_TEST_ENV names another place for it. Tests that need the public test data find it at $RFDN_DATA or ../shared/data, else skip.
set -euo pipefail
cd "$(dirname "$0")/.."

key=$({ cat pyproject.toml setup.py scripts/install.sh scripts/basicsr_build/*.py
        [ -z "${PYTHON:-}" ] || "$PYTHON" --version; } | cksum | cut -d' ' -f1)
environment=${RFDN_TEST_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/rfdn_plugin/test-$key}
mkdir -p "$(dirname "$environment")"
scripts/install.sh "$environment" test

# A worker that crashes can leave pytest waiting for it for ever: half an hour for what takes minutes, then it ends.
limit=()
if command -v timeout >/dev/null; then
  limit=(timeout --kill-after=30 1800)
fi
marker=(-m 'not slow')
if [ "${1:-}" = --slow ]; then
  marker=() limit=()
  shift
fi
"$environment/bin/ruff" check .
PYTHONPATH=$PWD "$environment/bin/lint-imports" --no-cache
"$environment/bin/mypy"
# Two files of tests at a time (-n 0 for one), for much of their time goes into waiting for processes. One thread a
# process: results repeat. The path: another checkout may have pointed the shared environment at itself meanwhile.
export OMP_NUM_THREADS=1 PYTHONPATH=$PWD
# Else each of the many processes compiles this package, and each of pytest's rewrites the assertions of all tests.
unset PYTHONDONTWRITEBYTECODE
pytest=(${limit[@]+"${limit[@]}"} "$environment/bin/python" -m pytest -n 2 --dist loadfile)
if [ $# = 0 ]; then
  # A newcomer has no test data: a part of the suite without it, so that nothing there relies on it.
  alone=(tests/archs tests/weights tests/test_spandrel.py)
  RFDN_DATA=/nonexistent "${pytest[@]}" -q ${marker[@]+"${marker[@]}"} "${alone[@]}"
  # The other runtimes (ONNX Runtime, OpenVINO, ncnn) in processes apart from those that train: see tests/conftest.py.
  "${pytest[@]}" ${marker[@]+"${marker[@]}"} tests/leaderboard tests/deploy  # the longest first
  set -- --ignore tests/deploy --ignore tests/leaderboard "${alone[@]/#/--data-only=}"
fi
exec "${pytest[@]}" ${marker[@]+"${marker[@]}"} "$@"
