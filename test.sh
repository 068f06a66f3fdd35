#!/usr/bin/env bash
# Set-up, lint and tests. Words given go to pytest:
#   bash test.sh                 what is quick, some minutes on two cores
#   bash test.sh -m "not slow"   with the long ones, as CI runs it
#   bash test.sh -m slow         soak runs, fuzzing, further cases
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # sh test.sh: what follows is bash's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup_env.sh
prepare_environment requirements.txt requirements-dev.txt requirements-api.txt requirements-serve.txt requirements-speech.txt requirements-export.txt requirements-submit.txt requirements-sweep.txt
say "ruff"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
say "pytest"
exec "$PYTHON" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@" # two files at a time, in the order of conftest
