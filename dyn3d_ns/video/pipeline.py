"""All stages with their settings, built from one description."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import tyro

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.masks.settings import EgoSettings
from dyn3d_ns.video.registry import STAGES, stage_class
from dyn3d_ns.video.stage import Stage
from dyn3d_ns.video.stages.adjust import AdjustSettings
from dyn3d_ns.video.stages.cameras import CamerasSettings
from dyn3d_ns.video.stages.depth import DepthSettings
from dyn3d_ns.video.stages.describe import DescribeSettings
from dyn3d_ns.video.stages.flow import FlowSettings
from dyn3d_ns.video.stages.frames import FramesSettings, FramesStage
from dyn3d_ns.video.stages.fuse import FuseSettings
from dyn3d_ns.video.stages.keyframes import KeyframesSettings
from dyn3d_ns.video.stages.masks import MasksSettings
from dyn3d_ns.video.stages.tracks import TracksSettings


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
    known = [f.name for f in fields(PipelineSettings)]
    assert known == [name for name in STAGES if name in known]
    for name in names or ():
        if name not in known:
            raise StageError(f"there is no stage {name!r}; choose from {', '.join(known)}")
    stages: list[Stage] = []
    for name in known:
        if names is not None and name not in names:
            continue
        if name == "frames":
            stages.append(FramesStage(settings.frames, source))
        else:
            own = _with_ego_flow(settings) if name == "masks" else getattr(settings, name)
            stages.append(stage_class(name)(own))
    return stages


def _with_ego_flow(settings: PipelineSettings) -> MasksSettings:
    """Let the masks compare the flow with the ego-flow where cameras and depth are both given."""
    masks, cameras, depth = settings.masks, settings.cameras, settings.depth
    named = masks.ego.poses is not None or masks.ego.depth is not None
    if named or cameras.poses is None or depth.files is None:
        return masks
    ego = EgoSettings(
        cameras.poses, cameras.poses_format, cameras.focal, cameras.fov, depth.files, depth.png_scale
    )
    return replace(masks, ego=ego)
