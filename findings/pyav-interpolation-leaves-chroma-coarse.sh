#!/usr/bin/env bash
# PyAV 18.1: `interpolation` of reformat() and to_ndarray() makes no difference to a frame of 4:2:0 video that
# becomes RGB at its own size: every filter gives the same bytes, and chroma is not interpolated.
#
# Recordings of several cameras (N3DV, Meet Room) are trained on and measured against such frames. Each camera's
# grid of chroma lies elsewhere on the scene, so the blocks are noise that no model of the scene can explain.
# Expected by many: "BICUBIC" or "LANCZOS" interpolates chroma, as it does as soon as the size changes.
# Seen: only the flags FULL_CHR_H_INT and FULL_CHR_H_INP do, in the same argument, and bring several dB; OpenCV
# 4.10 decodes as PyAV does without them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==1.26.4 opencv-python-headless==4.10.0.84
"$folder/venv/bin/python" - "$folder/video.mp4" <<'PY'
import sys

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation

print("PyAV", av.__version__, "OpenCV", cv2.__version__)
path, (height, width) = sys.argv[1], (240, 320)
rng = np.random.default_rng(0)
coarse = rng.integers(30, 226, (height // 6, width // 6, 3), dtype=np.uint8)
truth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
with av.open(path, "w") as container:
    stream = container.add_stream("libx264", rate=30, options={"crf": "4"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    frame = av.VideoFrame.from_ndarray(truth, format="rgb24").reformat(
        format="yuv420p", interpolation=Interpolation.AREA | Interpolation.FULL_CHR_H_INP
    )
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def decoded(interpolation):
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format="rgb24", interpolation=interpolation).to_ndarray()


def psnr(image):
    return float(-10 * np.log10(np.mean(((image.astype(float) - truth) / 255) ** 2)))


names = ("FAST_BILINEAR", "BILINEAR", "BICUBIC", "LANCZOS", "SPLINE", "AREA")
plain = {name: decoded(Interpolation[name]) for name in names}
for name, image in plain.items():
    print(f"{name:14s} {psnr(image):.2f} dB")
full = decoded(
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
print(f"with FULL_CHR  {psnr(full):.2f} dB")
ok, bgr = cv2.VideoCapture(path).read()
print(f"OpenCV         {psnr(bgr[..., ::-1]):.2f} dB")
with av.open(path) as container:
    frame = next(container.decode(video=0))
    smaller = [
        frame.reformat(width=width - 64, format="rgb24", interpolation=name).to_ndarray() for name in ("AREA", "BICUBIC")
    ]
if np.array_equal(*smaller):
    sys.exit("changed: the filter's name makes no difference at another size either")
if any(not np.array_equal(image, plain["BICUBIC"]) for image in plain.values()):
    sys.exit("changed: the filter's name makes a difference now")
if psnr(full) < psnr(plain["BICUBIC"]) + 2:
    sys.exit("changed: the chroma flags no longer bring 2 dB")
if not np.array_equal(bgr[..., ::-1], plain["BICUBIC"]):
    sys.exit("changed: OpenCV decodes otherwise than PyAV without the flags")
PY
