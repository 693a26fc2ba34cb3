"""Tell what a folder of a monocular scene, or of several, holds; nothing is decoded."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from dyn3d_ns.io.dynamic_scene.base import SceneFiles
from dyn3d_ns.io.dynamic_scene.dycheck import DyCheckScene, is_dycheck
from dyn3d_ns.io.dynamic_scene.llff import LlffScene, is_llff_scene
from dyn3d_ns.io.dynamic_scene.opening import scenes_in
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.recognised import Recognised, image_size, images_in
from dyn3d_ns.io.shell import shell_word

_SIDE = {"disp": "*.npy", "flow": "*.npz", "motion_masks": "*.png", "sparse": "*"}
_MADE: tuple[Literal["motion_masks", "flow", "disp"], ...] = ("motion_masks", "flow", "disp")
_LLFF, _DYCHECK = "Dynamic Scene (LLFF poses)", "iPhone capture of DyCheck"


def recognise_dynamic_scene(path: Path) -> Recognised | None:
    """Tell whether a folder is a Dynamic Scene or an iPhone capture, or holds such; None if not."""
    if is_llff_scene(path):
        return _with_views(Recognised(_LLFF, _llff_facts(path)), path, LlffScene)
    if is_dycheck(path):
        return _with_views(Recognised(_DYCHECK), path, DyCheckScene)
    inner = sorted(p for p in path.iterdir() if p.is_dir() and (is_llff_scene(p) or is_dycheck(p)))
    if len(inner) < 2:
        return None
    names, others = [p.name for p in inner], [p.name for p in scenes_in(path) if p not in inner]
    facts = {"scenes": ", ".join(names)} | ({"other videos": ", ".join(others)} if others else {})
    use = [f"{_train(path)} --scenes {shlex.join(names)}"]
    use += [f"dyn3d info {shell_word(p)}" for p in inner[:5]]
    return Recognised("folder of Dynamic Scenes", facts, use=use)


def recognise_poses_bounds(path: Path) -> Recognised | None:
    """Tell whether a folder has LLFF's poses, but no frames that they could be of; None if not."""
    if not (path / "poses_bounds.npy").is_file():
        return None
    folders = sorted(p for p in path.glob("*") if images_in(p))
    facts = {"images": ", ".join(f"{p.name} ({len(images_in(p))})" for p in folders) or "none"}
    return Recognised(_LLFF, facts, ["images/ with a frame for each row of poses_bounds.npy"])


def _llff_facts(path: Path) -> dict[str, str]:
    counts = {name: len(list((path / name).glob(kind))) for name, kind in _SIDE.items()}
    there = [f"{name} ({count})" for name, count in counts.items() if count]
    return {"side files": ", ".join(there) or "none"}


def _with_views(
    found: Recognised, path: Path, open_files: type[LlffScene] | type[DyCheckScene]
) -> Recognised:
    """Add what the files say once they are opened, or what keeps them from being."""
    try:
        files: SceneFiles = open_files(path)
        frames, views = files.frames, files.views()
        files.cameras()
    except DatasetError as error:
        found.missing.append(str(error))
        return found
    found.facts = {"frames": str(len(frames)), "image size": image_size(frames[0])} | found.facts
    if views:
        cameras = len({view.camera for view in views})
        found.facts["views to evaluate on"] = f"{len(views)} of {cameras} cameras"
    else:
        found.missing.append("views to evaluate on (evaluation is on the frames)")
    if isinstance(files, LlffScene):
        lacking = {kind: files.has(kind).count(False) for kind in _MADE}
        found.missing += [f"{kind} of {n} frames (made in training)" for kind, n in lacking.items() if n]
    found.use.append(_train(path))
    return found


def _train(path: Path) -> str:
    return f"ns-train dyn3d-mononerf-fast --data {shell_word(path)} dynamic-scene-data"
