#!/usr/bin/env bash
# pycolmap 4.2.1 refuses a model that has cameras and images but no points3D file, in the text form too.
#
# Splatting code (3D Gaussian Splatting, DAS3R and what derives from them) writes and reads such models: poses
# from another source, points left out on purpose. With an empty points3D.txt beside them the same files load.
# Expected by many: Reconstruction(folder) reads what is there, as the readers of 3DGS do.
# Seen: an error that names points3D, and with the empty file one camera and one image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycolmap==4.2.1 numpy
mkdir "$folder/model"
echo "1 PINHOLE 64 48 50 50 32 24" > "$folder/model/cameras.txt"
printf '1 1 0 0 0 0 0 0 1 frame_0000.png\n\n' > "$folder/model/images.txt"
"$folder/venv/bin/python" - "$folder/model" <<'PY'
import sys
from pathlib import Path

import pycolmap

model = Path(sys.argv[1])
print("pycolmap", pycolmap.__version__)
try:
    pycolmap.Reconstruction(str(model))
except Exception as error:
    print("without points3D:", type(error).__name__, str(error).replace(str(model), "MODEL")[:200])
else:
    sys.exit("changed: a model without points3D loads now")
(model / "points3D.txt").touch()
found = pycolmap.Reconstruction(str(model))
print(f"with an empty points3D.txt: {len(found.cameras)} camera, {len(found.images)} image")
if (len(found.cameras), len(found.images)) != (1, 1):
    sys.exit("changed: the same files no longer give one camera and one image")
PY
