"""Open a video in whichever of the layouts it lies."""

from __future__ import annotations

from pathlib import Path

from dyn3d_ns.io.clip.folder import recognise_clip
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.clip import ClipFootage
from dyn3d_ns.io.footage.colmap import ColmapFootage, is_colmap
from dyn3d_ns.io.footage.das3r import Das3rFootage, is_das3r
from dyn3d_ns.io.footage.davis import DavisFootage
from dyn3d_ns.io.footage.sintel import SintelFootage
from dyn3d_ns.io.footage.transforms import TransformsFootage, is_transforms
from dyn3d_ns.io.recognised import VIDEO_SUFFIXES, images_in
from dyn3d_ns.io.sequences import find_davis, find_sintel, holds_sequences
from dyn3d_ns.io.shell import shell_word

KNOWN = (
    "a clip of `dyn3d process` or DynamicVerse (rgb/ and cameras/ or dynamicBA/), DAS3R or MonST3R "
    "(pred_traj.txt), Sintel (training/final/), DAVIS (JPEGImages/), COLMAP (sparse/), transforms.json"
)


def is_footage(path: Path) -> bool:
    """Tell whether a folder is a video in one of :data:`KNOWN`; what it lacks shows when it is opened."""
    return path.is_dir() and (
        recognise_clip(path) is not None
        or (path / "clip.json").is_file()
        or is_das3r(path)
        or holds_sequences(path) is not None
        or is_colmap(path)
        or is_transforms(path)
    )


def open_footage(path: Path) -> Footage:
    """Open a video by what its folder holds, in the order of :data:`KNOWN`.

    Raises:
        DatasetError: it is none of the layouts, or it lacks what training needs.
    """
    _refuse_files(path)
    if recognise_clip(path) is not None or (path / "clip.json").is_file():
        return ClipFootage(path)
    if is_das3r(path):
        return Das3rFootage(path)
    dataset = holds_sequences(path)
    if dataset == "sintel":
        return SintelFootage(find_sintel(path))
    if dataset == "davis":
        return DavisFootage(find_davis(path))
    if is_colmap(path):
        return ColmapFootage(path)
    if is_transforms(path):
        return TransformsFootage(path)
    found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
    folder = next((f for f in (path, path / "rgb", path / "images") if images_in(f)), None)
    if (path / "poses_bounds.npy").is_file():
        raise DatasetError(
            f"{path} has the poses of a Dynamic Scene or a recording: see `dyn3d info {shell_word(path)}`"
        )
    hint = (
        f"; its images have no cameras: `dyn3d process {shell_word(folder)} OUT` finds them" if folder else ""
    )
    raise DatasetError(f"{path} is no video in a layout that is read ({KNOWN}); it holds {found}{hint}")


def _refuse_files(path: Path) -> None:
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise DatasetError(
                f"{path} is a video, which has no cameras yet: run `dyn3d process {shell_word(path)} OUT`, "
                "then take OUT"
            )
        raise DatasetError(f"{path} is a file; give the folder of a video")
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder; give the folder of a video")
