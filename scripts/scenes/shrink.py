"""Re-encode a Dynamic Object scene as small lossless WebP, as the scenes shipped beside this file were."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image


@dataclass
class Args:
    """Where to read and write, and how coarsely to quantise."""

    source: Path
    """scene with transforms_*.json and PNG frames"""
    output: Path
    """folder to write"""
    colour_levels: int = 22
    """levels per colour channel; 22 keeps 46 dB and 43 % of the bytes of an optimised PNG"""
    alpha_levels: int = 32
    """levels of alpha"""


def quantise(rgba: NDArray[np.uint8], colour_levels: int, alpha_levels: int) -> NDArray[np.uint8]:
    """Round an [H, W, 4] image to evenly spaced levels; fully transparent pixels become black."""
    steps = np.array([colour_levels - 1] * 3 + [alpha_levels - 1])
    levels = np.round(rgba / 255.0 * steps)
    out = np.round(levels / steps * 255.0).astype(np.uint8)
    out[out[..., 3] == 0] = 0
    return out


def shrink(args: Args) -> None:
    """Write every frame that the scene's transforms name, and the transforms with the new file names."""
    for path in sorted(args.source.glob("transforms_*.json")):
        transforms = json.loads(path.read_text())
        for frame in transforms["frames"]:
            rgba = np.asarray(Image.open(args.source / f"{frame['file_path']}.png").convert("RGBA"))
            frame["file_path"] += ".webp"
            target = args.output / frame["file_path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(quantise(rgba, args.colour_levels, args.alpha_levels))
            small.save(target, "WEBP", lossless=True, quality=100, method=6)
        (args.output / path.name).write_text(json.dumps(transforms))
    (args.output / "ground_truth").mkdir(exist_ok=True)
    shutil.copyfile(args.source / "ground_truth/motion.json", args.output / "ground_truth/motion.json")


if __name__ == "__main__":
    shrink(tyro.cli(Args))
