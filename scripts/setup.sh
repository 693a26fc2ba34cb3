# Sourced by quickstart.sh and test.sh: makes .venv with everything in it and puts it first on PATH.
# Does nothing if that is done already. Needs python3 (3.10 to 3.12), git and, the first time, the network.
#
# DYN3D_PYTHON         python to use instead of the first suitable one on PATH
# DYN3D_TORCH_BACKEND  which build of torch uv takes: cpu (much smaller), cu128, auto, ...; default: PyPI's own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_suitable() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${DYN3D_PYTHON:-python3 python3.12 python3.11 python3.10 "$HOME"/.pyenv/versions/3.1[0-2].*/bin/python}; do
        if is_suitable "$candidate"; then echo "$candidate"; return; fi
    done
    echo "No Python 3.10, 3.11 or 3.12 found (python3 is $(python3 --version 2>&1)). Install one, or name one" \
        "with DYN3D_PYTHON=/path/to/python." >&2
    return 1
}

install_environment() {
    local python stamp backend=()
    if [ ! -x .venv/bin/python ] || ! is_suitable .venv/bin/python; then
        python=$(find_python)
        echo "Making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    stamp=$({ cat pyproject.toml constraints.txt scripts/overrides.txt; .venv/bin/python --version
              echo "${DYN3D_TORCH_BACKEND:-}"; pwd; } | .venv/bin/python -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    if [ "$(cat .venv/dyn3d-stamp 2>/dev/null)" = "$stamp" ]; then return; fi
    echo "Installing (a few minutes the first time; the network is needed only now)"
    .venv/bin/python -m uv --version >/dev/null 2>&1 || .venv/bin/python -m pip install --quiet uv
    if [ -n "${DYN3D_TORCH_BACKEND:-}" ]; then backend=(--torch-backend "$DYN3D_TORCH_BACKEND"); fi
    .venv/bin/python -m uv pip install --compile-bytecode --python .venv/bin/python ${backend[@]+"${backend[@]}"} \
        --constraints constraints.txt --overrides scripts/overrides.txt --editable '.[dev]'
    echo "$stamp" > .venv/dyn3d-stamp
}

install_environment
export PATH="$PWD/.venv/bin:$PATH"
# Nothing below asks the network: no version checks, no weights, no telemetry.
export WANDB_MODE=offline HF_HUB_OFFLINE=1 PYRIGHT_PYTHON_IGNORE_WARNINGS=1
