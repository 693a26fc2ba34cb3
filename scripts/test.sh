#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest: bash scripts/test.sh -m "not slow" -k rasterize
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
ruff check .
ruff format --check .
pyright
exec python -m pytest "$@"
