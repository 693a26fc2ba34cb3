"""The stages and the exchangeable parts by name; nothing is imported until it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.stage import Stage

STAGES: dict[str, str] = {
    "frames": "dyn3d_ns.video.stages.frames:FramesStage",
    "flow": "dyn3d_ns.video.stages.flow:FlowStage",
    "keyframes": "dyn3d_ns.video.stages.keyframes:KeyframesStage",
    "tracks": "dyn3d_ns.video.stages.tracks:TracksStage",
    "masks": "dyn3d_ns.video.stages.masks:MasksStage",
    "cameras": "dyn3d_ns.video.stages.cameras:CamerasStage",
    "depth": "dyn3d_ns.video.stages.depth:DepthStage",
    "adjust": "dyn3d_ns.video.stages.adjust:AdjustStage",
    "describe": "dyn3d_ns.video.stages.describe:DescribeStage",
    "fuse": "dyn3d_ns.video.stages.fuse:FuseStage",
}
"""Stages in the order in which they run."""

PARTS: dict[str, dict[str, str]] = {
    "flow": {
        "dis": "dyn3d_ns.video.flow:DisFlow",
        "farneback": "dyn3d_ns.video.flow:FarnebackFlow",
        "raft": "dyn3d_ns.video.raft:RaftFlow",
    },
    "tracker": {
        "lucas-kanade": "dyn3d_ns.video.tracking:LucasKanade",
        "cotracker": "dyn3d_ns.video.cotracker:CoTracker",
    },
    "cameras": {
        "auto": "dyn3d_ns.video.cameras.estimators:AutoCameras",
        "colmap": "dyn3d_ns.video.cameras.estimators:ColmapCameras",
        "tracks": "dyn3d_ns.video.cameras.estimators:TrackCameras",
    },
    "depth": {"huggingface": "dyn3d_ns.video.depth.given:HuggingFaceDepth"},
    "segmenter": {
        "sam2": "dyn3d_ns.video.masks.networks:Sam2",
        "sa2va": "dyn3d_ns.video.masks.networks:Sa2VA",
    },
    "describer": {
        "measured": "dyn3d_ns.video.describe.describers:MeasuredDescriber",
        "server": "dyn3d_ns.video.describe.describers:ServerDescriber",
    },
}
"""Exchangeable parts. Other packages add theirs by entry points in the group `dyn3d_ns.video.<kind>`."""


def stage_class(name: str) -> type[Stage]:
    """Import the class of a stage."""
    return cast(type[Stage], _load(STAGES[name]))


def part(kind: str, name: str) -> Any:
    """Import an exchangeable part by its name, by an entry point's, or as `module:attribute`.

    Raises:
        StageError: there is none of that name, or its module cannot be imported.
    """
    target = PARTS[kind].get(name)
    if target is None:
        found = {entry.name: entry.value for entry in entry_points(group=f"dyn3d_ns.video.{kind}")}
        target = found.get(name) or (name if ":" in name else None)
        if target is None:
            known = ", ".join(sorted({*PARTS[kind], *found}))
            raise StageError(
                f"there is no {kind} named {name!r}; choose one of {known}, or give module:Class"
            )
    try:
        return _load(target)
    except (ImportError, AttributeError) as error:
        raise StageError(f"{kind} {name!r} ({target}) cannot be imported: {error}") from error


def make_part(kind: str, name: str, settings: Any) -> Any:
    """Build an exchangeable part: by its class method `from_settings`, or without arguments."""
    cls = part(kind, name)
    return cls.from_settings(settings) if hasattr(cls, "from_settings") else cls()


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
