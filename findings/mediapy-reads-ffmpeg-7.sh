#!/usr/bin/env bash
# mediapy 1.2.0 and before cannot read the video that it has just written with ffmpeg 7; 1.2.2 can.
#
# Nerfstudio writes its renders with mediapy and asks for any version from 1.1.0 on; imageio-ffmpeg 0.6 brings
# ffmpeg 7.0.2 along.
# Expected by many: a wrapper of a command keeps to what the command promises, so that old and new go together.
# Seen: the number of frames is read from the lines that ffmpeg prints for people; those of ffmpeg 7 have another
# form, and read_video ends in "Unable to find frames in video", though the file is whole and PyAV counts them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==1.26.4 imageio-ffmpeg==0.6.0 av==17.0.0
for version in 1.1.0 1.2.0 1.2.2; do
    "$folder/venv/bin/pip" install --quiet "mediapy==$version"
    "$folder/venv/bin/python" -W ignore - "$folder/film.mp4" "$version" <<'PY'
import subprocess
import sys

import av
import imageio_ffmpeg
import mediapy
import numpy as np

path, version = sys.argv[1:]
program = imageio_ffmpeg.get_ffmpeg_exe()
mediapy.set_ffmpeg(program)
mediapy.write_video(path, np.zeros((3, 32, 32, 3)), fps=10)
with av.open(path) as container:
    frames = sum(1 for _ in container.decode(video=0))
try:
    seen = f"{len(mediapy.read_video(path))} frames"
except RuntimeError as error:
    seen = str(error)[:30]
told = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
print(f"mediapy {version}, ffmpeg {told}: PyAV finds {frames} frames, read_video: {seen}")
if frames != 3:
    sys.exit("changed: the file does not hold the three frames")
if (seen == "3 frames") != (version == "1.2.2"):
    sys.exit("changed: another version reads it")
PY
done
