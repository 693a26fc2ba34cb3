"""Adjusted depth maps: adjusted points carried into them, and flow, frame by frame."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int32

from dyn3d_ns.geometry.cameras import depths_in
from dyn3d_ns.geometry.triangulation import relative_transform
from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.adjust.flow_depth import WindowPair, adjust_window
from dyn3d_ns.video.adjust.gather import LabelledTracks
from dyn3d_ns.video.adjust.labels import Label, pixel_labels
from dyn3d_ns.video.adjust.points import PointTracks
from dyn3d_ns.video.adjust.propagate import propagate_depth
from dyn3d_ns.video.adjust.results import write_frame
from dyn3d_ns.video.adjust.settings import AdjustSettings
from dyn3d_ns.video.flow.source import FlowSource
from dyn3d_ns.video.stage import Report

_WINDOW, _STRIDE = 5, 4


def write_depth_maps(
    workspace: Workspace,
    report: Report,
    settings: AdjustSettings,
    cameras: Cameras,
    data: LabelledTracks,
    points: PointTracks,
) -> None:
    """Adjust the depth of all frames and write a file for each."""
    depths = _propagated(workspace, report, cameras, data, points)
    if settings.flow_depth == "off" or (settings.flow_depth == "auto" and workspace.depth_is_triangulated()):
        for frame, depth in enumerate(depths):
            write_frame(workspace, cameras, frame, depth)
        return
    if cameras.static:
        report.note("depth cannot be fitted to flow, as the camera does not move")
    # Windows overlap by one frame, and no more than one window is in memory. Not the system's folder for
    # temporary files: on many machines that is memory too.
    workspace.cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.cache_dir) as folder:
        stored = _store(Path(folder) / "depth.npy", depths, len(cameras.Ks))
        if not cameras.static:
            _fit_to_flow(workspace, report, settings, cameras, stored)
        for frame in range(len(cameras.Ks)):
            write_frame(workspace, cameras, frame, np.array(stored[frame]))


def _propagated(
    workspace: Workspace, report: Report, cameras: Cameras, data: LabelledTracks, points: PointTracks
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield every depth map, scaled to the adjusted static and moving points."""
    for frame in report.track(range(len(cameras.Ks)), "adjust: depth"):
        depth = workspace.depth(frame, adjusted=False)
        regions = _regions(workspace, frame, depth.shape)
        pose, K = cameras.camera_to_worlds[frame], cameras.Ks[frame]
        visible = data.counts[frame, points.static_ids]
        for region, places, tracks in (
            (Label.STATIC, points.static[visible], points.static_ids[visible]),
            (
                Label.DYNAMIC,
                points.moving[frame, points.moving_visible[frame]],
                points.moving_ids[points.moving_visible[frame]],
            ),
        ):
            target = depths_in(places, pose)
            pixels = data.tracks.xy[frame, tracks].astype(np.float64)
            depth = propagate_depth(depth, regions == region, pixels, target, K)
        yield depth


def _regions(workspace: Workspace, frame: int, shape: tuple[int, ...]) -> Int32[np.ndarray, "H W"]:
    if not workspace.has_masks():
        return np.full(shape, Label.STATIC, np.int32)
    return pixel_labels(workspace.labels(frame)).astype(np.int32)


def _store(path: Path, depths: Iterator[Float32[np.ndarray, "H W"]], count: int) -> np.ndarray:
    """Write depth maps into a file that is read back where it is needed."""
    stored: np.ndarray | None = None
    for frame, depth in enumerate(depths):
        if stored is None:
            stored = np.lib.format.open_memmap(path, "w+", np.float32, (count, *depth.shape))
        stored[frame] = depth
    if stored is None:
        raise ValueError("there is no depth map")
    return stored


def _fit_to_flow(
    workspace: Workspace, report: Report, settings: AdjustSettings, cameras: Cameras, stored: np.ndarray
) -> None:
    """Fit windows of five frames to the flow between them, each after the one before."""
    flows = FlowSource(workspace)
    generator = torch.Generator().manual_seed(settings.seed)
    count = len(cameras.Ks)
    for start in report.track(range(0, max(count - 1, 1), _STRIDE), "adjust: depth by flow"):
        frames = list(range(start, min(start + _WINDOW, count)))
        pairs = {
            (a, b): _pair(flows, cameras, frames[a], frames[b])
            for a in range(len(frames))
            for b in range(len(frames))
            if a != b
        }
        depths = torch.from_numpy(np.array(stored[frames]))
        regions = torch.stack(
            [torch.from_numpy(_regions(workspace, f, stored.shape[1:]) == Label.STATIC) for f in frames]
        )
        K = torch.from_numpy(cameras.Ks[frames[0]].astype(np.float32))
        stored[frames] = adjust_window(
            depths, regions & (depths > 0), pairs, K, settings.flow_fit, generator
        ).numpy()


def _pair(flows: FlowSource, cameras: Cameras, a: int, b: int) -> WindowPair:
    forward, backward = flows(a, b), flows(b, a)
    move = relative_transform(cameras.camera_to_worlds[a], cameras.camera_to_worlds[b])
    return WindowPair(
        torch.from_numpy(forward.flow),
        torch.from_numpy(cycle_error(forward, backward)),
        torch.from_numpy(move.astype(np.float32)),
    )


def cycle_error(forward: Flow, backward: Flow) -> Float32[np.ndarray, "H W"]:
    """Return how far from its start a pixel comes back, in pixels; infinite where it leaves the image."""
    import cv2

    height, width = forward.valid.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    xs, ys = xs + forward.flow[..., 0], ys + forward.flow[..., 1]
    back = cv2.remap(backward.flow, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (xs >= 0) & (xs <= width - 1) & (ys >= 0) & (ys <= height - 1)
    return np.where(inside, np.linalg.norm(forward.flow + back, axis=-1), np.inf).astype(np.float32)
