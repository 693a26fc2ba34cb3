"""CoTracker (Karaev et al.) as a tracker, from a local file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dyn3d_ns.io.clip.types import Tracks
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.parts import Configured


class CoTracker(Configured):
    """Calls an offline CoTracker3 on the whole clip, in groups of points.

    The weights are a checkpoint for the package `cotracker` (scaled_offline.pth), or a TorchScript file of a
    predictor with its interface: `(video [1,F,3,H,W] in 0..255, queries [1,N,3] of frame, x, y)` gives
    tracks [1,F,N,2] in pixels and visibility [1,F,N], and a third output, confidence, if it has one.
    The clip is held in memory as floats: 12 bytes a pixel and frame.
    """

    def __init__(self, weights: Path, device: str = "cpu", group: int = 2500) -> None:
        self.device, self.group = device, group
        self.model = _load(weights, device)

    @classmethod
    def from_settings(cls, settings: Any) -> CoTracker:
        """Build it from the settings of the stage `tracks`."""
        if settings.weights is None:
            raise StageError(
                "--tracks.method cotracker needs --tracks.weights FILE, CoTracker3's offline model"
            )
        return cls(settings.weights, settings.device)

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "H W 3"]],
        interval: int,
        grid: int,
    ) -> Tracks:
        """Track a grid of `grid` points a side, picked every `interval` frames, both ways."""
        import torch

        height, width = images[0].shape[:2]
        video = torch.empty((1, len(images), 3, height, width), device=self.device)
        for i, image in enumerate(images):
            video[0, i] = torch.from_numpy(image).permute(2, 0, 1)
        queries = torch.from_numpy(grid_queries(len(images), height, width, interval, grid))
        parts = []
        with torch.inference_mode():
            for some in queries.split(self.group):
                parts.append(self._track(video, some[None].to(self.device)))
        xy, visible, confidence = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        inside = ((xy >= 0) & (xy <= (width - 1, height - 1))).all(axis=-1)
        frames = queries[:, 0].numpy().astype(np.int64)
        return Tracks(xy, visible & inside, confidence, frames, height, width)

    def _track(self, video: Any, queries: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        output = self.model(video, queries)
        xy, visibility = output[0][0].float().cpu().numpy(), output[1][0].float().cpu().numpy()
        confidence = output[2][0].float().cpu().numpy() if len(output) > 2 else visibility
        return xy, visibility > 0.5, np.clip(confidence, 0, 1).astype(np.float32)


def grid_queries(
    frames: int, height: int, width: int, interval: int, grid: int
) -> Float32[np.ndarray, "N 3"]:
    """Return frame, x and y of a regular grid in every `interval`-th frame."""
    xs = (np.arange(grid) + 0.5) / grid * width - 0.5
    ys = (np.arange(grid) + 0.5) / grid * height - 0.5
    t, y, x = np.meshgrid(np.arange(0, frames, interval), ys, xs, indexing="ij")
    return np.stack((t, x, y), axis=-1).reshape(-1, 3).astype(np.float32)


def _load(weights: Path, device: str) -> Callable[[Any, Any], Any]:
    """Return a function of video and queries."""
    import torch

    if not weights.is_file():
        raise StageError(f"--tracks.weights: {weights} does not exist")
    if _is_torchscript(weights):
        return torch.jit.load(str(weights), map_location=device).eval()
    try:
        from cotracker.predictor import CoTrackerPredictor  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise StageError(
            f"--tracks.weights: {weights} is not TorchScript, and reading it as a checkpoint needs the "
            "package `cotracker` (install it from its repository)"
        ) from error
    predictor = CoTrackerPredictor(checkpoint=str(weights)).to(device).eval()
    return lambda video, queries: predictor(video, queries=queries, backward_tracking=True)


def _is_torchscript(path: Path) -> bool:
    """Tell an archive with code from a checkpoint, which needs the network's own code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
