#!/usr/bin/env bash
# Lint, types and tests, these in two processes. Arguments go to pytest: bash scripts/test.sh -m "not slow" -k ply
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
# The tests start hundreds of commands, which would each compile the sources.
unset PYTHONDONTWRITEBYTECODE
ruff check .
ruff format --check .
pyright
# Files stay whole, and in the order of tests/conftest.py; -n0 runs all in one process.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
