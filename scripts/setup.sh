# Sourced by quickstart.sh and test.sh: makes .venv with everything in it and puts it first on PATH.
# Does nothing if that is done already. Needs python3 (3.10 to 3.12), git and, the first time, the network.
#
# DYN3D_PYTHON         python to use instead of the first suitable one on PATH
# DYN3D_TORCH_BACKEND  which build of torch uv takes: cpu (much smaller), cu128, auto, ...; default: PyPI's own
#
# pip and uv read their own variables too: HTTPS_PROXY, SSL_CERT_FILE, PIP_CERT, PIP_INDEX_URL, UV_DEFAULT_INDEX.
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

run_uv() { .venv/bin/python -m uv "$@"; }

# Prints the file or folder of the system's certificates, to which a proxy's own belong; nothing if there is none.
system_certificates() {
    .venv/bin/python -c 'import os, ssl
paths = ssl.get_default_verify_paths()
print(paths.cafile or (paths.capath if paths.capath and os.listdir(paths.capath) else ""))'
}

# An older pip knows only the certificates that it brings along.
install_uv() {
    local certificates
    .venv/bin/python -m pip install --quiet uv && return
    certificates=$(system_certificates)
    if [ -n "${PIP_CERT:-}" ] || [ -z "$certificates" ]; then return 1; fi
    echo "Once more, with the system's certificates"
    PIP_CERT=$certificates .venv/bin/python -m pip install --quiet uv
}

# So does uv, unless a variable says otherwise, whose name has changed.
use_system_certificates() {
    if [ -n "${UV_SYSTEM_CERTS:-}${UV_NATIVE_TLS:-}" ]; then return; fi
    if [ "$(uname)" = Linux ] && [ -z "$(system_certificates)" ]; then return; fi
    case "$(run_uv --help 2>/dev/null)" in
        *--system-certs*) export UV_SYSTEM_CERTS=true ;;
        *) export UV_NATIVE_TLS=true ;;
    esac
}

has_nvidia_driver() { command -v nvidia-smi >/dev/null || [ -e /proc/driver/nvidia ]; }

# Only PyPI's Linux builds of torch bring CUDA along; elsewhere, and where the CPU build is out of reach, no word.
recommend_cpu_torch() {
    if [ -n "${DYN3D_TORCH_BACKEND:-}" ] || [ "$(uname)" != Linux ] || has_nvidia_driver; then return; fi
    if echo torch | UV_HTTP_TIMEOUT=5 UV_HTTP_RETRIES=0 timeout 20 .venv/bin/python -m uv pip compile \
        --quiet --no-deps --no-header --torch-backend cpu - >/dev/null 2>&1; then
        echo "No NVIDIA driver found, and the default torch downloads about 3 GB of CUDA libraries: to take its" \
            "CPU build instead, stop here (Ctrl-C) and run this again with DYN3D_TORCH_BACKEND=cpu."
    fi
}

say_what_to_set() {
    echo "The installation failed; if a download above did, set HTTPS_PROXY to your proxy, SSL_CERT_FILE and" \
        "PIP_CERT to a file that holds its certificate, and UV_DEFAULT_INDEX and PIP_INDEX_URL to the package" \
        "index if you use your own." >&2
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
    run_uv --version >/dev/null 2>&1 || install_uv || say_what_to_set
    use_system_certificates
    # What is installed already is not downloaded again.
    .venv/bin/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' ||
        recommend_cpu_torch
    if [ -n "${DYN3D_TORCH_BACKEND:-}" ]; then backend=(--torch-backend "$DYN3D_TORCH_BACKEND"); fi
    run_uv pip install --compile-bytecode --python .venv/bin/python ${backend[@]+"${backend[@]}"} \
        --constraints constraints.txt --overrides scripts/overrides.txt --editable '.[dev]' || say_what_to_set
    # What an earlier install left beside the sources would be found first, with the methods of then.
    rm -rf dyn3d_ns.egg-info
    echo "$stamp" > .venv/dyn3d-stamp
}

install_environment
export PATH="$PWD/.venv/bin:$PATH"
# Nothing below asks the network: no version checks, no weights, no telemetry.
export WANDB_MODE=offline HF_HUB_OFFLINE=1 PYRIGHT_PYTHON_IGNORE_WARNINGS=1
