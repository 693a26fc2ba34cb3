"""All stages with their settings, built from one description."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from dyn3d_ns.io.clip.paths import STAGES
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.adjust.settings import AdjustSettings
from dyn3d_ns.video.adjust.stage import AdjustStage
from dyn3d_ns.video.cameras.settings import CamerasSettings
from dyn3d_ns.video.cameras.stage import CamerasStage
from dyn3d_ns.video.depth.settings import DepthSettings
from dyn3d_ns.video.depth.stage import DepthStage
from dyn3d_ns.video.describe.settings import DescribeSettings
from dyn3d_ns.video.describe.stage import DescribeStage
from dyn3d_ns.video.flow.settings import FlowSettings
from dyn3d_ns.video.flow.stage import FlowStage
from dyn3d_ns.video.frames.settings import FramesSettings
from dyn3d_ns.video.frames.stage import FramesStage
from dyn3d_ns.video.fuse.settings import FuseSettings
from dyn3d_ns.video.fuse.stage import FuseStage
from dyn3d_ns.video.keyframes.settings import KeyframesSettings
from dyn3d_ns.video.keyframes.stage import KeyframesStage
from dyn3d_ns.video.masks.settings import EgoSettings, MasksSettings
from dyn3d_ns.video.masks.stage import MasksStage
from dyn3d_ns.video.stage import Stage
from dyn3d_ns.video.tracks.settings import TracksSettings
from dyn3d_ns.video.tracks.stage import TracksStage

_CLASSES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (
        AdjustStage,
        CamerasStage,
        DepthStage,
        DescribeStage,
        FlowStage,
        FuseStage,
        KeyframesStage,
        MasksStage,
        TracksStage,
    )
}


@dataclass
class PipelineSettings:
    """Settings of every stage; the defaults need no weights and no network."""

    frames: tyro.conf.OmitArgPrefixes[FramesSettings] = field(default_factory=FramesSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    keyframes: KeyframesSettings = field(default_factory=KeyframesSettings)
    tracks: TracksSettings = field(default_factory=TracksSettings)
    masks: MasksSettings = field(default_factory=MasksSettings)
    cameras: CamerasSettings = field(default_factory=CamerasSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    adjust: AdjustSettings = field(default_factory=AdjustSettings)
    describe: DescribeSettings = field(default_factory=DescribeSettings)
    fuse: FuseSettings = field(default_factory=FuseSettings)


def build_stages(source: Path, settings: PipelineSettings, names: list[str] | None = None) -> list[Stage]:
    """Build the named stages (all if None) in the order in which they run.

    Raises:
        StageError: there is no stage of that name.
    """
    for name in names or ():
        if name not in STAGES:
            raise StageError(f"there is no stage {name!r}; choose from {', '.join(STAGES)}")
    wanted = [name for name in STAGES if names is None or name in names]
    own = {**vars(settings), "masks": _with_ego_flow(settings)}
    return [
        FramesStage(settings.frames, source, settings.cameras.given)
        if name == "frames"
        else _CLASSES[name](own[name])
        for name in wanted
    ]


def _with_ego_flow(settings: PipelineSettings) -> MasksSettings:
    """Let the masks compare the flow with the ego-flow where cameras and depth are both given."""
    masks, cameras, depth = settings.masks, settings.cameras, settings.depth
    named = masks.ego.given.poses is not None or masks.ego.depth is not None
    if named or cameras.given.poses is None or depth.files is None:
        return masks
    return replace(masks, ego=EgoSettings(cameras.given, depth.files, depth.png_scale))
