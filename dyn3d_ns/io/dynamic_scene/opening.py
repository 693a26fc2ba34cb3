"""Find the scenes that a folder and names mean, whatever their layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dyn3d_ns.io.dynamic_scene.base import SceneFiles
from dyn3d_ns.io.dynamic_scene.dycheck import DyCheckScene, is_dycheck
from dyn3d_ns.io.dynamic_scene.footage import FootageScene
from dyn3d_ns.io.dynamic_scene.llff import LlffScene, is_llff_scene
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.layouts import is_footage


def is_scene(path: Path) -> bool:
    """Tell whether a folder is a scene in a layout that is read."""
    return path.is_dir() and (is_llff_scene(path) or is_dycheck(path) or is_footage(path))


def open_scene(path: Path) -> SceneFiles:
    """Open a scene by what its folder holds.

    Raises:
        DatasetError: it is in no layout that is read, or lacks what training needs.
    """
    if is_llff_scene(path):
        return LlffScene(path)
    return DyCheckScene(path) if is_dycheck(path) else FootageScene(path)


def find_scenes(data: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of the scenes that are meant.

    Args:
        data: Folder of one scene, or one that holds scenes.
        names: Scenes in ``data``, or further folders; those are beside ``data`` where it is a scene itself.
            Empty for the one scene there is.

    Raises:
        DatasetError: there is no such scene, or which one is meant is not said.
    """
    if not data.is_dir():
        raise DatasetError(f"{data} is no folder; give that of a scene, or of several scenes")
    itself = is_scene(data)
    if names:
        found = [data] if itself else []
        found += [_named(data, name) for name in names]
        return list({path.resolve(): path for path in found}.values())
    if itself:
        return [data]
    inner = scenes_in(data)
    if len(inner) == 1:
        return inner
    if inner:
        listed = " ".join(path.name for path in inner)
        raise DatasetError(
            f"{data} holds {len(inner)} scenes; say which with --scenes: {listed} (one of them, or several)"
        )
    there = ", ".join(sorted(path.name for path in data.iterdir())[:8]) or "nothing"
    raise DatasetError(
        f"{data} is no scene and holds none; a scene is a folder with images/ and poses_bounds.npy, the "
        f"iPhone layout of DyCheck, or a video with cameras (`dyn3d process` makes one); it holds {there}"
    )


def scene_names(scenes: Sequence[SceneFiles]) -> tuple[str, ...]:
    """Return the scenes' names; those that two share get their folder's in front."""
    names = [scene.name for scene in scenes]
    return tuple(
        name if names.count(name) == 1 else f"{scene.root.resolve().parent.name}_{name}"
        for name, scene in zip(names, scenes, strict=True)
    )


def _named(data: Path, name: str) -> Path:
    for path in (data / name, Path(name)):
        if is_scene(path):
            return path
    there = " ".join(path.name for path in scenes_in(data)) or "none"
    raise DatasetError(
        f"--scenes {name}: neither {data / name} nor {Path(name)} is a scene; scenes in {data}: {there}"
    )


def scenes_in(data: Path) -> list[Path]:
    """Return the scenes that a folder holds, by name."""
    return sorted(path for path in data.iterdir() if not path.name.startswith(".") and is_scene(path))
