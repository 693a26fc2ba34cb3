"""The whole adjustment of a clip: cameras, static points, moving points, depth."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.adjust.depth_maps import write_depth_maps
from dyn3d_ns.video.adjust.descent import Descent
from dyn3d_ns.video.adjust.dynamic import adjust_dynamic, erratic, motion_graph
from dyn3d_ns.video.adjust.gather import LabelledTracks, camera_state, cameras_of_state, gather_tracks
from dyn3d_ns.video.adjust.initialize import initialize_cameras
from dyn3d_ns.video.adjust.labels import Label
from dyn3d_ns.video.adjust.points import PointTracks
from dyn3d_ns.video.adjust.results import write_results
from dyn3d_ns.video.adjust.settings import AdjustSettings
from dyn3d_ns.video.adjust.static import (
    CameraState,
    adjust_static,
    back_project,
    isolated,
    mean_points,
)
from dyn3d_ns.video.stage import Report

_MIN_TRACKS = 20
"""Static tracks without which cameras are left as they are."""
_MISFIT = 3.0
"""Median reprojection error in pixels from which a static point is dropped."""


@dataclass
class Clock:
    """Seconds that each part took."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Give the time since the last lap to a part."""
        now = time.perf_counter()
        self.seconds[name] = now - self._since
        self._since = now


def adjust_clip(workspace: Workspace, report: Report, settings: AdjustSettings) -> None:
    """Adjust the cameras, points and depth of a clip's folder and write them beside the originals."""
    clock = Clock()
    before = workspace.cameras(adjusted=False)
    data = gather_tracks(workspace, report)
    clock.lap("reading")
    cameras, fresh = _start(workspace, before, data, settings, report)
    clock.lap("camera initialisation")
    cameras, static_ids, static = _static(cameras, before, data, settings, report, fresh)
    clock.lap("static adjustment")
    moving_ids, moving, seen = _moving(cameras, data, settings, report)
    clock.lap("moving points")
    points = PointTracks(static, static_ids, moving, seen, moving_ids)
    adjusted = cameras_of_state(cameras, before)
    write_depth_maps(workspace, report, settings, adjusted, data, points)
    clock.lap("depth")
    write_results(workspace, adjusted, data, points, clock.seconds)


def _start(
    workspace: Workspace,
    before: Cameras,
    data: LabelledTracks,
    settings: AdjustSettings,
    report: Report,
) -> tuple[CameraState, bool]:
    """Return the cameras to start from, and whether they were made from depth."""
    unknown = not workspace.depth_is_triangulated() and len(workspace.points().xyz) == 0 and not before.static
    if settings.cameras_from == "cameras" or (settings.cameras_from == "auto" and not unknown):
        return camera_state(before), False
    state = camera_state(before)
    samples = data.samples(data.chosen(Label.STATIC, settings.max_static_tracks))
    if len(samples.frames) == 0:
        report.note("no static track has depth: the cameras stay those of the stage `cameras`")
        return state, False
    count = len(before.Ks)
    with report.progress(count - 1, "adjust: cameras") as step:
        return initialize_cameras(
            samples, count, state.focal, state.center, settings.weights, settings.num_init_epochs, step=step
        ), True


def _static(
    cameras: CameraState,
    before: Cameras,
    data: LabelledTracks,
    settings: AdjustSettings,
    report: Report,
    fresh: bool,
) -> tuple[CameraState, Int[np.ndarray, "P"], Float[np.ndarray, "P 3"]]:
    """Adjust cameras and static points; short tracks join afterwards, misfits and loners go."""
    ids = data.chosen(Label.STATIC, settings.max_static_tracks)
    samples = data.samples(ids)
    points, known = mean_points(cameras, samples, len(ids))
    if known.sum() < _MIN_TRACKS:
        report.note("too few static tracks have depth: the cameras stay as they are")
    elif not before.static or fresh:
        keep = known[samples.points]
        part = type(samples)(*(value[keep] for value in vars(samples).values()))
        cameras, points, _ = adjust_static(
            cameras,
            points,
            part,
            settings.weights,
            Descent(settings.num_ba_epochs or (2000 if fresh else 200), 100, 20),
            pose_rate=settings.ba_lr or (1e-2 if fresh else 2e-5),
            focal_rate=settings.intrinsics_lr,
            free_focal=settings.opt_intrinsics,
            smooth=1.0 if fresh else 0.0,
        )
        pixels, _ = cameras.project(points[part.points], part.frames)
        miss = (pixels - part.pixels).norm(dim=1).numpy()
        known &= torch.from_numpy(_median_by(miss, part.points.numpy(), len(ids)) < _MISFIT)
    short = data.chosen(Label.SHORT, settings.max_static_tracks)
    joined, has_depth = mean_points(cameras, data.samples(short), len(short))
    all_ids = np.concatenate((ids[known.numpy()], short[has_depth.numpy()]))
    all_points = torch.cat((points[known], joined[has_depth])).numpy()
    stays = ~isolated(all_points)
    return cameras, all_ids[stays], all_points[stays]


def _median_by(
    values: Float[np.ndarray, "S"], index: Int[np.ndarray, "S"], count: int
) -> Float[np.ndarray, "N"]:
    """Return the median of the values of each index; infinite where there is none."""
    order = np.lexsort((values, index))
    bounds = np.searchsorted(index[order], np.arange(count + 1))
    number = np.diff(bounds)
    middle = np.minimum(bounds[:-1] + number // 2, len(values) - 1)
    return np.where(number > 0, values[order][middle], np.inf)


def _moving(
    cameras: CameraState, data: LabelledTracks, settings: AdjustSettings, report: Report
) -> tuple[Int[np.ndarray, "M"], Float[np.ndarray, "F M 3"], Bool[np.ndarray, "F M"]]:
    """Adjust the moving points; erratic ones go."""
    ids = data.chosen(Label.DYNAMIC, settings.max_dynamic_tracks)
    samples = data.samples(ids)
    keep = samples.depth > 0
    samples = type(samples)(*(value[keep] for value in vars(samples).values()))
    count_f = data.counts.shape[0]
    positions = np.zeros((count_f, len(ids), 3))
    seen = np.zeros((count_f, len(ids)), bool)
    if len(samples.frames) == 0:
        return ids, positions, seen
    start = back_project(cameras, samples)
    graph = motion_graph(samples, start.numpy(), data.instances[ids])
    with report.progress(1, "adjust: moving points") as step:
        found, _ = adjust_dynamic(
            cameras,
            start,
            samples,
            graph,
            settings.weights,
            Descent(settings.num_dyn_epochs, 100),
            settings.dyn_lr,
        )
        step()
    good = ~erratic(found, samples, graph, len(ids), settings.weights)
    positions[samples.frames, samples.points] = found.numpy()
    seen[samples.frames, samples.points] = good[samples.points].numpy()
    return ids, positions, seen
