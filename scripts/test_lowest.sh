#!/usr/bin/env bash
# The tests of readers, writers and decoders, and short trainings, with the lowest versions that pyproject.toml
# admits, in .venv-lowest.
# Arguments go to pytest: bash scripts/test_lowest.sh tests/io -k ply
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
lowest=.venv-lowest
stamp=$({ cat pyproject.toml scripts/overrides.txt scripts/test_lowest.sh; pwd; } | sha256sum)
if [ "$(cat "$lowest/dyn3d-stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "Installing the lowest versions"
    use_system_certificates
    .venv/bin/python -m venv --clear --without-pip "$lowest"
    run_uv pip install --quiet --python "$lowest/bin/python" --resolution lowest-direct \
        ${DYN3D_TORCH_BACKEND:+--torch-backend "$DYN3D_TORCH_BACKEND"} \
        --overrides scripts/overrides.txt --editable '.[usd,4dgs,splat4d,spz]' 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100' 'setuptools>=68' ||
        say_what_to_set
    rm -rf dyn3d_ns.egg-info
    echo "$stamp" > "$lowest/dyn3d-stamp"
fi
if [ $# = 0 ]; then set -- tests/io tests/export tests/video/frames tests/engine/test_ffmpeg.py tests/models/test_scenes_at_rest.py; fi
exec "$lowest/bin/python" -m pytest -q -n 2 --dist loadfile "$@"
