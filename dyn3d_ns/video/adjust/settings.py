"""Settings of the stage `adjust`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class AdjustSettings(StageSettings):
    """How cameras, points and depth are adjusted together."""

    cameras_from: Literal["auto", "cameras", "depth"] = "auto"
    """Start from the stage `cameras`, or from tracks and depth alone; auto: from depth where it was not
    triangulated and the stage `cameras` could tell no parallax."""
    opt_intrinsics: bool = True
    """Adjust the focal length, unless it was given."""
    max_static_tracks: int = 2000
    """Static tracks that are adjusted with the cameras, at most; those seen longest."""
    max_dynamic_tracks: int = 600
    """Moving tracks, at most; those seen longest."""
    num_init_epochs: int = 600
    """Steps per frame of the camera initialisation from depth, at most."""
    num_ba_epochs: int | None = None
    """Steps of the static adjustment, at most; None: 2000 from depth, 200 from `cameras`."""
    num_dyn_epochs: int = 1000
    """Steps of the adjustment of moving points, at most."""
    ba_lr: float | None = None
    """Learning rate of poses and points (median depth is 1); None: 1e-2 from depth, 2e-5 from `cameras`."""
    dyn_lr: float = 1e-2
    """Learning rate of moving points."""
    intrinsics_lr: float = 1e-4
    """Learning rate of the focal length, relative to it."""
    reproj_weight: float = 1.0
    """Weight of the reprojection error in pixels."""
    pose_smooth_weight_t: float | None = None
    """Weight of changes of the camera's step; None: 1 from depth, 0 from `cameras`."""
    pose_smooth_weight_r: float | None = None
    """Weight of changes of the camera's turn; None: 1 from depth, 0 from `cameras`."""
    depth_weight: float = 0.05
    """Weight of the difference of log depth from the maps, which holds the scale; 0 is Uni4D's own energy."""
    dyn_smooth_weight_t: float = 10.0
    """Weight of the steps of moving points."""
    dyn_laplacian_weight_t: float = 100.0
    """Weight of changes of distance between neighbouring moving points."""
    flow_depth: Literal["auto", "on", "off"] = "auto"
    """Fit depth to flow at the end; auto: where it was not triangulated from flow in the first place."""
    num_flow_epochs: int = 50
    """Steps of that in each window of five frames."""
    flow_lr: float = 1e-2
    """Learning rate of depth."""
    flow_sample_ratio: float = 0.5
    """Part of the static pixels that takes part in a step."""
    cycle_consistency_sigma: float = 1.0
    """Error of flow there and back, in pixels, at which a pixel counts for 0.6."""
    min_cycle_weight: float = 0.01
    """What a pixel whose flow does not return counts for."""
    huber: bool = True
    """Huber's loss on flow; squared without."""
    max_grad_norm: float = 1.0
    """Largest gradient of depth."""
    seed: int = 42
    """Of the pixels that are drawn."""
