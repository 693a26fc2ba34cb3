"""The exchangeable parts by name; nothing is imported until it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.parts import Configured

PARTS: dict[str, dict[str, str]] = {
    "flow": {
        "dis": "dyn3d_ns.video.flow.opencv:DisFlow",
        "farneback": "dyn3d_ns.video.flow.opencv:FarnebackFlow",
        "raft": "dyn3d_ns.video.flow.raft:RaftFlow",
    },
    "tracker": {
        "lucas-kanade": "dyn3d_ns.video.tracks.lucas_kanade:LucasKanade",
        "cotracker": "dyn3d_ns.video.tracks.cotracker:CoTracker",
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
    """Build an exchangeable part: from the settings if it is :class:`Configured`, else without arguments."""
    found = part(kind, name)
    if isinstance(found, type) and issubclass(found, Configured):
        return found.from_settings(settings)
    return found()


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
