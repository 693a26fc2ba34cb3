#!/usr/bin/env bash
# Read what gsply, gaussforge and splat-transform write of one scene, and print the differences from it: the table
# of docs/export.md. Their packages go into a temporary folder. Needs npm and Node 20 or later.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m venv --without-pip "$work/venv"
run_uv pip install --quiet --python "$work/venv/bin/python" gsply==0.4.6 gaussforge==0.6.0 zstandard
npm install --silent --no-audit --no-fund --prefix "$work/npm" @playcanvas/splat-transform@3.7.0
mkdir "$work/files"
.venv/bin/python scripts/check_imports.py make "$work/files"
"$work/venv/bin/python" scripts/check_imports.py others "$work/files"
for name in splat-transform.spz splat-transform.glb splat-transform.compressed.ply splat-transform.sog; do
    node "$work/npm/node_modules/@playcanvas/splat-transform/bin/cli.mjs" --quiet -g cpu \
        "$work/files/scene.ply" "$work/files/$name"
done
.venv/bin/python scripts/check_imports.py compare "$work/files"
