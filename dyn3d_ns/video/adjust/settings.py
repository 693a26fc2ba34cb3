"""Settings of the stage `adjust`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class EnergyWeights:
    """Weights of the terms of the energies that are minimised."""

    reprojection: Annotated[float, tyro.conf.arg(name="reproj-weight")] = 1.0
    """Weight of the reprojection error in pixels."""
    smooth_translation: Annotated[float | None, tyro.conf.arg(name="pose-smooth-weight-t")] = None
    """Weight of changes of the camera's step; None: 1 from depth, 0 from `cameras`."""
    smooth_rotation: Annotated[float | None, tyro.conf.arg(name="pose-smooth-weight-r")] = None
    """Weight of changes of the camera's turn; None: 1 from depth, 0 from `cameras`."""
    depth: Annotated[float, tyro.conf.arg(name="depth-weight")] = 0.05
    """Weight of the difference of log depth from the maps, which holds the scale; 0 is Uni4D's own energy."""
    moving_smooth: Annotated[float, tyro.conf.arg(name="dyn-smooth-weight-t")] = 10.0
    """Weight of the steps of moving points."""
    moving_rigid: Annotated[float, tyro.conf.arg(name="dyn-laplacian-weight-t")] = 100.0
    """Weight of changes of distance between neighbouring moving points."""

    def smoothness(self, default: float) -> tuple[float, float]:
        """Return the weights of changes of the camera's step and turn, the default where they are None."""
        translation, rotation = self.smooth_translation, self.smooth_rotation
        return default if translation is None else translation, default if rotation is None else rotation


@dataclass(frozen=True)
class FlowDepthSettings:
    """How depth is fitted to flow."""

    iterations: Annotated[int, tyro.conf.arg(name="num-flow-epochs")] = 50
    """Steps in each window of five frames."""
    rate: Annotated[float, tyro.conf.arg(name="flow-lr")] = 1e-2
    """Learning rate of depth."""
    sample_ratio: Annotated[float, tyro.conf.arg(name="flow-sample-ratio")] = 0.5
    """Part of the static pixels that takes part in a step."""
    cycle_sigma: Annotated[float, tyro.conf.arg(name="cycle-consistency-sigma")] = 1.0
    """Error of flow there and back, in pixels, at which a pixel counts for 0.6."""
    min_weight: Annotated[float, tyro.conf.arg(name="min-cycle-weight")] = 0.01
    """What a pixel whose flow does not return counts for."""
    huber: bool = True
    """Huber's loss on flow; squared without."""
    max_gradient: Annotated[float, tyro.conf.arg(name="max-grad-norm")] = 1.0
    """Largest gradient of depth."""


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
    weights: Annotated[EnergyWeights, tyro.conf.arg(name="")] = EnergyWeights()
    """Weights of the energies' terms."""
    flow_depth: Literal["auto", "on", "off"] = "auto"
    """Fit depth to flow at the end; auto: where it was not triangulated from flow in the first place."""
    flow_fit: Annotated[FlowDepthSettings, tyro.conf.arg(name="")] = FlowDepthSettings()
    """How that is done."""
    seed: int = 42
    """Of the pixels that are drawn."""
