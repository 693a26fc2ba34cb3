"""Clips that the tests of the video pipeline make themselves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def texture(height: int, width: int, seed: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Return a smooth random picture with contrast at several scales."""
    import cv2

    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 8, 16, 32):
        noise = rng.normal(size=(cells * height // width + 2, cells + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def shifted_frames(
    count: int = 6, height: int = 64, width: int = 96, step: tuple[int, int] = (2, 1)
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return a window that slides over a texture: the picture moves by -step (x, y) pixels a frame."""
    big = texture(height + count * abs(step[1]), width + count * abs(step[0]))
    return [
        big[i * step[1] : i * step[1] + height, i * step[0] : i * step[0] + width].copy()
        for i in range(count)
    ]


def write_folder(folder: Path, frames: list[UInt8[np.ndarray, "H W 3"]], name: str = "f{}.png") -> Path:
    """Write frames as images."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(i))
    return folder


def write_video(
    path: Path,
    frames: list[UInt8[np.ndarray, "H W 3"]],
    fps: int = 25,
    ticks: list[int] | None = None,
) -> Path:
    """Encode frames as H.264; `ticks` are the frames' times in milliseconds."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
