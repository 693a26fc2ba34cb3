#!/usr/bin/env bash
# Exports a trained scene in every format and compares what the readers of others find in the files, in numbers.
#   bash scripts/check_exports.sh                     # the scene of scripts/quickstart.sh
#   bash scripts/check_exports.sh path/to/config.yml
# Installs the readers in a temporary folder: gsply and gaussforge from PyPI; splat-transform and Spark by npm, where
# there is one; with a python3.13 at hand Blender as a module (350 MB). What is missing is named in the table.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
config=${1:-$(ls outputs/quickstart/*/*/*/config.yml 2>/dev/null | head -n 1)}
if [ -z "$config" ]; then
    echo "give the config.yml of a training, or run scripts/quickstart.sh first" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m uv venv -q "$folder/python"
python -m uv pip install -q --python "$folder/python/bin/python" gsply==0.4.6 gaussforge==0.6.0
if command -v npm >/dev/null; then
    npm install --silent --no-fund --no-audit --prefix "$folder" \
        @playcanvas/splat-transform@3.7.0 @sparkjsdev/spark@2.2.0 three@0.180.0
fi
if python3.13 -c '' 2>/dev/null; then
    python3.13 -m venv "$folder/blender"
    "$folder/blender/bin/pip" install -q bpy==5.3.0
fi
python scripts/check_exports.py "$config" "$folder"
