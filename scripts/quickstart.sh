#!/usr/bin/env bash
# From a fresh clone to a trained, measured and rendered scene. Run again, it skips what is done.
#   bash scripts/quickstart.sh
# scripts/setup.sh lists what can be set in the environment.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
# Deprecations inside Nerfstudio and torch are not for the user to mend.
export PYTHONWARNINGS=ignore::FutureWarning,ignore::DeprecationWarning
exec python scripts/quickstart.py "$@"
