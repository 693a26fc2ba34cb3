"""How close the composed frames of `dyn3d clean` come to a clip's true frames without its movers.

    python scripts/benchmarks/clean.py CONFIG CLEAN [--masks FOLDER] [--pictures FOLDER]

CONFIG is the config.yml of a training of dyn3d-das3r, CLEAN a folder of true frames (frame_%04d.png), --masks
one of true masks (anything but 0 moves), both in order. PSNR is pooled over all frames: of the plain
rendering, of the composed frames, and of the decoded video; over all pixels and within the movers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dyn3d_ns.cli.clean import open_scene
from dyn3d_ns.io.images import read_image
from dyn3d_ns.io.recognised import images_in
from dyn3d_ns.io.video_file import VideoWriter
from dyn3d_ns.video.frames.decode import Source


class Errors:
    """Squared errors by name, over all pixels and within the movers."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(self, name: str, image: np.ndarray, truth: np.ndarray, moves: np.ndarray) -> None:
        """Add a frame, 8 bits a channel."""
        squares = ((image.astype(np.float64) - truth) / 255) ** 2
        sums = self.sums.setdefault(name, [0.0] * 4)
        for k, chosen in enumerate((np.ones_like(moves), moves)):
            sums[2 * k] += squares[chosen].sum()
            sums[2 * k + 1] += 3 * chosen.sum()

    def table(self) -> str:
        """Return one line a name."""
        lines = [f"{'':24}{'all':>8}{'movers':>8}"]
        for name, (total, count, inner, inside) in self.sums.items():
            psnrs = [f"{-10 * np.log10(a / n):8.2f}" if n and a else "       -" for a, n in
                     ((total, count), (inner, inside))]  # fmt: skip
            lines.append(f"{name:24}" + "".join(psnrs))
        return "\n".join(lines)


def main() -> None:
    """Compose, encode, decode and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    scene = open_scene(args.config)
    footage, truths = scene.footage, images_in(args.clean)
    masks = images_in(args.masks) if args.masks else []
    size, errors, flicker, seconds, last = footage.size, Errors(), {}, 0.0, {}
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clean.mp4"
        moving = []
        with VideoWriter(video, *size, fps=24.0) as writer:
            for i, path in enumerate(footage.frames):
                recorded, truth = read_image(path, alpha=False), read_image(truths[i], alpha=False)
                moves = np.asarray(Image.open(masks[i])) > 0 if masks else footage.dynamic_mask(i)
                moves = moves.any(-1) if moves.ndim == 3 else moves
                moving.append(moves)
                start = time.process_time()
                composed = scene.frames.compose(i, recorded)
                seconds += time.process_time() - start
                shown = np.rint(composed.image * 255).astype(np.uint8)
                render = np.rint(scene.frames.render(i, *size).image * 255).astype(np.uint8)
                writer.write(shown)
                for name, image in {"recorded": recorded, "render": render, "composed": shown}.items():
                    errors.add(name, image, truth, moves)
                    errors.add(f"{name}, not filled", image, truth, moves & ~composed.filled)
                    residual = image.astype(np.float64) - truth
                    if name in last:
                        flicker.setdefault(name, []).append(((residual - last[name]) ** 2)[moves].mean())
                    last[name] = residual
                if args.pictures:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    kept = np.repeat(np.rint(composed.kept * 255).astype(np.uint8)[..., None], 3, -1)
                    filled = np.repeat(255 * composed.filled.astype(np.uint8)[..., None], 3, -1)
                    rows = [[recorded, render, shown], [truth, kept, filled]]
                    sheet = np.vstack([np.hstack(row) for row in rows])
                    Image.fromarray(sheet).save(args.pictures / f"{i:04d}.png")
        for i, frame in enumerate(Source(video).frames()):
            errors.add("decoded video", frame.image, read_image(truths[i], alpha=False), moving[i])
    print(errors.table())
    for name, values in flicker.items():
        print(f"change of the error from frame to frame within movers, {name}: "
              f"{255 * (np.mean(values) / 255**2) ** 0.5:.2f} grey levels")  # fmt: skip
    print(f"{seconds / len(footage.frames):.2f} s of CPU a frame")


if __name__ == "__main__":
    main()
