"""Flow against ego-flow: what of the flow the camera's motion explains, where cameras and depth are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dyn3d_ns.geometry.cameras import pixel_grid, project, to_camera, unproject
from dyn3d_ns.geometry.triangulation import FlowView, relative_transform, triangulate_flow
from dyn3d_ns.io.clip.types import Cameras, Flow
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.depth.given import DepthFiles, sized_map
from dyn3d_ns.video.masks.motion import NeighbourFlows
from dyn3d_ns.video.masks.residuals import PairResidual, robust_scale
from dyn3d_ns.video.masks.settings import EgoSettings
from dyn3d_ns.video.stage import Report

_SCALED_BY = 10
"""Frames that tell the scale of the depth."""
_POOR = 0.25
"""Median relative error of the depth from which a warning is due."""


def ego_flow(
    depth: Float32[np.ndarray, "H W"],
    K: Float64[np.ndarray, "3 3"],
    other_K: Float64[np.ndarray, "3 3"],
    transform: Float64[np.ndarray, "4 4"],
) -> tuple[Float32[np.ndarray, "H W 2"], Bool[np.ndarray, "H W"]]:
    """Return the flow of a scene that stands still, and where it is known.

    Args:
        depth: planar z; 0 where not known.
        K: intrinsics of the frame.
        other_K: intrinsics of the other frame.
        transform: from this camera's axes to the other's.
    """
    start = pixel_grid(*depth.shape)
    at = to_camera(unproject(start, depth, K), transform)
    known = (depth > 0) & (at[..., 2] > 1e-6)
    flow = np.where(known[..., None], project(at, other_K) - start, 0.0)
    return flow.astype(np.float32), known


@dataclass(frozen=True)
class EgoMotion:
    """Cameras and depth of the whole clip, at one scale."""

    cameras: Cameras
    depths: DepthFiles
    scale: float
    """What the given depth is multiplied with."""

    def depth(self, frame: int, shape: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
        """Return the depth of a frame at the cameras' scale and the frame's size."""
        size = shape[1], shape[0]
        return self.scale * sized_map(self.depths[frame], size, f"the depth of frame {frame}")

    def residuals(self, frame: int, flows: Sequence[tuple[int, Flow]]) -> list[PairResidual]:
        """Measure how far flows to other frames are from the ego-flow, in pixels."""
        found = []
        for other, flow in flows:
            predicted, known = ego_flow(
                self.depth(frame, flow.valid.shape),
                self.cameras.Ks[frame],
                self.cameras.Ks[other],
                self._move(frame, other),
            )
            miss = np.where(known, np.linalg.norm(flow.flow - predicted, axis=-1), 0).astype(np.float32)
            usable = flow.valid & known
            found.append(PairResidual("known", miss, robust_scale(miss[usable]), None, 0.0, usable))
        return found

    def _move(self, frame: int, other: int) -> Float64[np.ndarray, "4 4"]:
        poses = self.cameras.camera_to_worlds
        return relative_transform(poses[frame], poses[other])


def open_ego_motion(
    workspace: Workspace, flows: NeighbourFlows, settings: EgoSettings, report: Report, span: int
) -> EgoMotion | None:
    """Read cameras and depth of the user and bring the depth to the cameras' scale; None if none are given.

    The scale is the median ratio of the given depth to that which the flow triangulates between the cameras.

    Raises:
        StageError: only one of the two is given, or a file does not fit the clip.
    """
    from dyn3d_ns.video.cameras.given import cameras_from_file

    if settings.given.poses is None and settings.depth is None:
        return None
    if settings.given.poses is None or settings.depth is None:
        raise StageError("ego-flow needs cameras and depth: give --masks.ego.poses and --masks.ego.depth")
    cameras = cameras_from_file(workspace, report, settings.given)
    depths = DepthFiles(settings.depth, workspace.clip_frames(), settings.png_scale)
    if depths.note:
        report.note(depths.note)
    ego = EgoMotion(cameras, depths, 1.0)
    ratios = _ratios(ego, flows, span)
    if len(ratios) == 0:
        if not cameras.static:
            report.note("the flow does not tell the scale of the depth for ego-flow: it is taken as it is")
        return ego
    scale = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios / scale - 1.0)))
    if spread > _POOR:
        report.note(
            f"depth for ego-flow misses what the flow triangulates by {100 * spread:.0f} % in the median; "
            "the masks follow its errors"
        )
    return EgoMotion(cameras, depths, scale)


def _ratios(ego: EgoMotion, flows: NeighbourFlows, span: int) -> Float64[np.ndarray, "n"]:
    """Return triangulated depth over given depth for pixels of a few frames."""
    count = len(ego.cameras.Ks)
    found = [np.empty(0)]
    for frame in np.unique(np.linspace(0, count - 1, min(count, _SCALED_BY)).round().astype(int)).tolist():
        views = [
            FlowView(flow.flow, flow.valid, ego.cameras.Ks[other], ego._move(frame, other))
            for other, flow in flows.around(frame, span)
        ]
        if not any(np.linalg.norm(view.transform[:3, 3]) > 1e-9 for view in views):
            continue
        measured = triangulate_flow(ego.cameras.Ks[frame], views)
        height, width = measured.value.shape
        given = ego.depth(frame, (height, width))
        both = (measured.weight > 0) & (given > 0)
        found.append(1.0 / (measured.value[both].astype(np.float64) * given[both]))
    return np.concatenate(found)
