"""Depth of all frames of a clip's folder, as the settings of the stage say."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32, Int

from dyn3d_ns.geometry.cameras import depths_in
from dyn3d_ns.geometry.densify import densify
from dyn3d_ns.geometry.triangulation import (
    FlowView,
    InverseDepth,
    relative_transform,
    triangulate_flow,
)
from dyn3d_ns.io.clip.folder import TRIANGULATED
from dyn3d_ns.io.clip.types import Cameras
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.depth.given import DepthFiles, match_to_cameras, sized_map
from dyn3d_ns.video.depth.moving import StaticFrame, place_objects
from dyn3d_ns.video.depth.settings import DepthSettings
from dyn3d_ns.video.depth.views import PointsByFrame, grown, matching_frames
from dyn3d_ns.video.flow.source import FlowSource
from dyn3d_ns.video.parts import DepthEstimator
from dyn3d_ns.video.registry import make_part
from dyn3d_ns.video.stage import Report

_FARTHEST = 1e-3
"""Least inverse depth, where the scene lies up to ten units away."""
_POINT_WEIGHT = 4.0
"""What a located track counts for, where a pixel's median weight is 1."""
_MATCHED = 10
"""Frames whose points tell the scale of given depth."""
_POOR = 0.25
"""Median relative error of given depth from which a warning is due."""
_SPREADING = 20
"""Steps at each size in which depth is spread; more change it, but make it no truer."""
_GROW = 3
"""Pixels around what moves in which flow is not believed."""


def estimate_depth(
    workspace: Workspace, report: Report, settings: DepthSettings
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield planar z of every frame.

    Raises:
        StageError: the settings name files, a model or an estimator that cannot be used.
    """
    if settings.files is not None:
        files = DepthFiles(settings.files, workspace.clip_frames(), settings.png_scale)
        if files.note:
            report.note(files.note)
        if workspace.clip().lens:
            report.note("depth is expected of the frames in rgb/, in which the lens is undone")
        return given_depth(workspace, report, settings, files.__getitem__, "files")
    if settings.method == "triangulate":
        return triangulated_depth(workspace, report, settings)
    estimator: DepthEstimator = make_part("depth", settings.method, settings)
    Ks = workspace.cameras(adjusted=False).Ks
    return given_depth(
        workspace, report, settings, lambda i: estimator(workspace.image(i), Ks[i]), settings.method
    )


def given_depth(
    workspace: Workspace,
    report: Report,
    settings: DepthSettings,
    maps: Callable[[int], Float32[np.ndarray, "H W"]],
    source: str,
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield depth from elsewhere at the size of the frames and the scale of the cameras."""
    cameras = workspace.cameras(adjusted=False)
    count = len(cameras.Ks)
    height, width = workspace.image(0).shape[:2]

    def sized(frame: int) -> Float32[np.ndarray, "H W"]:
        return sized_map(maps(frame), (width, height), f"the depth of frame {frame}")

    seen = PointsByFrame(workspace.points(), count)
    truth = []
    for frame in np.unique(np.linspace(0, count - 1, min(count, _MATCHED)).round().astype(int)):
        points, pixels = seen[int(frame)]
        depth = depths_in(points, cameras.camera_to_worlds[frame])
        if (depth > 0).any():
            truth.append((int(frame), pixels[depth > 0].astype(np.float64), depth[depth > 0]))
    match = match_to_cameras(sized, truth, settings.match)
    if not truth and settings.match != "none":
        report.note("no point of the cameras tells the scale of the given depth: it is taken as it is")
    if match.error > _POOR:
        report.note(
            f"the given depth misses the points of the cameras by {100 * match.error:.0f} % in the median"
        )
    workspace.write_depth_info(source, **match._asdict())
    for frame in report.track(range(count), "depth"):
        yield match.apply(sized(frame)).astype(np.float32)


def triangulated_depth(
    workspace: Workspace, report: Report, settings: DepthSettings
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield depth triangulated from flow and points, spread over each image; objects stand on the ground."""
    cameras = workspace.cameras(adjusted=False)
    workspace.write_depth_info(TRIANGULATED)
    if len(workspace.points().xyz) == 0:
        report.note("the camera's motion does not tell depth: a floor and a wall are assumed")
    frames = _static_disparity(workspace, report, settings, cameras)
    least = _FARTHEST * min(1.0, 10.0 / _typical_depth(workspace, cameras))
    for disparity in place_objects(frames):
        yield (1.0 / np.maximum(disparity, least)).astype(np.float32)


def _typical_depth(workspace: Workspace, cameras: Cameras) -> float:
    """Return the median depth of the located points, 1 where there are none: given cameras have any unit."""
    seen = PointsByFrame(workspace.points(), len(cameras.Ks))
    found = [depths_in(seen[i][0], pose) for i, pose in enumerate(cameras.camera_to_worlds)]
    depths = np.concatenate(found)
    depths = depths[depths > 0]
    return float(np.median(depths)) if len(depths) else 1.0


def _static_disparity(
    workspace: Workspace, report: Report, settings: DepthSettings, cameras: Cameras
) -> Iterator[StaticFrame]:
    count = len(cameras.Ks)
    seen = PointsByFrame(workspace.points(), count)
    flows = FlowSource(workspace)
    width, guessed = workspace.size[0], 0
    matched = matching_frames(cameras, seen, width, settings.neighbours)
    for frame in report.track(range(count), "depth"):
        image = flows.image(frame)
        labels = workspace.labels(frame) if workspace.has_masks() else np.zeros(image.shape[:2], np.int32)
        measured = measure_frame(frame, cameras, seen, flows, matched[frame])
        weight = np.where(grown(labels > 0, _GROW), 0.0, measured.weight).astype(np.float32)
        if (weight > 0).any():
            spread = densify(measured.value, weight, image, settings.smoothness, _SPREADING)
            yield StaticFrame(spread, weight > 0, labels)
        else:
            guessed += 1
            assumed = floor_and_wall(*image.shape[:2])
            yield StaticFrame(assumed, labels == 0, labels)
    if 0 < guessed < count:
        report.note(
            f"{guessed} of {count} frames show nothing whose depth is known: a floor and a wall are assumed"
        )


def measure_frame(
    frame: int, cameras: Cameras, seen: PointsByFrame, flows: FlowSource, matched: Int[np.ndarray, "K"]
) -> InverseDepth:
    """Return the inverse depth that a frame's flow to others and its located tracks give."""
    height, width = flows.image(frame).shape[:2]
    views = []
    for other in matched:
        flow = flows(frame, int(other))
        move = relative_transform(cameras.camera_to_worlds[frame], cameras.camera_to_worlds[other])
        views.append(FlowView(flow.flow, flow.valid, cameras.Ks[other], move))
    if views:
        measured = triangulate_flow(cameras.Ks[frame], views)
    else:
        measured = InverseDepth(np.zeros((height, width), np.float32), np.zeros((height, width), np.float32))
    return _with_points(measured, cameras.camera_to_worlds[frame], *seen[frame])


def _with_points(
    measured: InverseDepth,
    pose: np.ndarray,
    points: np.ndarray,
    pixels: np.ndarray,
) -> InverseDepth:
    """Put located tracks in."""
    value, weight = measured.value.copy(), measured.weight.copy()
    depth = depths_in(points, pose)
    ahead = depth > 1e-6
    columns = np.clip(np.rint(pixels[ahead, 0]).astype(int), 0, value.shape[1] - 1)
    rows = np.clip(np.rint(pixels[ahead, 1]).astype(int), 0, value.shape[0] - 1)
    value[rows, columns] = 1.0 / depth[ahead]
    known = weight > 0
    weight[rows, columns] = _POINT_WEIGHT * (float(np.median(weight[known])) if known.any() else 1.0)
    return InverseDepth(value, weight)


def floor_and_wall(height: int, width: int) -> Float32[np.ndarray, "H W"]:
    """Return the inverse depth of a wall at distance 2 and a floor that comes to 1 at the lower border."""
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)
    return np.repeat(np.maximum(0.5, down)[:, None], width, axis=1)
