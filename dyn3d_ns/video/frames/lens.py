"""The lens of cameras that another tool found, undone in the frames of a clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dyn3d_ns.geometry.cameras import focals
from dyn3d_ns.io.arrays import encode_png, read_png
from dyn3d_ns.io.clip.types import Clip
from dyn3d_ns.io.frame_matching import ClipFrames
from dyn3d_ns.io.trajectories import read_cameras
from dyn3d_ns.video.cameras.matched import match_cameras
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.stage import Report


def bent_lenses(given: GivenCameras) -> list[str] | None:
    """Describe the lenses in a file of cameras, with the frames' names if they differ; None if it has none.

    Raises:
        DatasetError: the cameras cannot be read.
    """
    if given.poses is None:
        return None
    cameras = read_cameras(given.poses, given.poses_format)
    lenses = cameras.lenses or ()
    if not any(lens.is_fisheye or any(lens.coefficients) for lens in lenses):
        return None
    parts = [lenses, cameras.Ks, cameras.sizes, cameras.angles]
    rows = [
        repr([lens, *(None if p is None else np.round(p[k], 6).tolist() for p in parts[1:])])
        for k, lens in enumerate(lenses)
    ]
    names = cameras.labels.names
    return rows[:1] if len(set(rows)) == 1 else [f"{n} {row}" for n, row in zip(names, rows, strict=True)]


def undo_lens(clip: Clip, folder: Path, given: GivenCameras, report: Report) -> Clip:
    """Undo the lens in the frames that lie in a folder, in place; return the clip with what was done.

    Raises:
        DatasetError: the cameras do not fit the frames, or a lens cannot be undone.
    """
    own = tuple(f"{k:05d}.png" for k in range(len(clip.times)))
    frames = ClipFrames(
        np.array(clip.source_frames), clip.source_names, own, clip.source, np.array(clip.times)
    )
    found = match_cameras(frames, (clip.width, clip.height), given)
    if not found.lens:
        return clip
    for name, undo in zip(report.track(own, "undoing the lens"), found.undistortions, strict=True):
        if undo is not None:
            image = undo.colors(read_png(folder / name, "RGB"))
            (folder / name).write_bytes(encode_png(image))
    report.note(f"the lens of {given.poses} is undone in the frames: {found.lens}")
    focal = None if clip.focal_px is None or found.Ks is None else float(np.median(focals(found.Ks)[..., 0]))
    return replace(clip, lens=found.lens, focal_px=focal)
