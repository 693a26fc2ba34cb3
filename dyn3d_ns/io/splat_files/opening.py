"""Open a file of Gaussians, or a folder of one file a frame, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from dyn3d_ns.io.errors import CommandError, DamagedFileError, MissingFileError
from dyn3d_ns.io.recognised import files_in
from dyn3d_ns.io.splat_files.fourdgs import read_fourdgs
from dyn3d_ns.io.splat_files.glb import read_glb
from dyn3d_ns.io.splat_files.ply import read_ply
from dyn3d_ns.io.splat_files.sog import META, read_sog
from dyn3d_ns.io.splat_files.splat import read_splat
from dyn3d_ns.io.splat_files.spz import read_spz
from dyn3d_ns.io.splat_files.table import SplatFile, Table, assemble
from dyn3d_ns.io.splat_files.usd import read_usd
from dyn3d_ns.io.splats import About

INSTANTS: dict[str, Callable[[Path], Table]] = {
    ".ply": read_ply,
    ".spz": read_spz,
    ".sog": read_sog,
    ".splat": read_splat,
    ".glb": read_glb,
}
"""Readers of what shows one instant, by the ending of the file."""
USD = (".usd", ".usda", ".usdc", ".usdz")
SUFFIXES = (*INSTANTS, ".4dgs", *USD)
USUAL_FPS = 30.0


def read_splats(path: Path, fps: float | None = None) -> SplatFile:
    """Read a file, or a folder with the frames of a sequence in the natural order of their names.

    Args:
        path: A file of one of the formats; a folder of such files, or that of one SOG scene.
        fps: Frames a second of what does not state them; 30 if None.

    Raises:
        DatasetError: it is missing, damaged or of an unknown format.
        CommandError: a package is missing that its format takes.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise CommandError(f"--fps must be a number above 0, got {fps}")
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; give a file of Gaussians or a folder of them")
    if path.name == META:
        path = path.parent
    suffix = path.suffix.lower()
    if path.is_dir() and (path / META).is_file():
        files, read = [path], read_sog
    elif path.is_dir():
        files = _frames(path)
        read = INSTANTS[files[0].suffix.lower()]
    elif suffix in USD:
        found = read_usd(path)
        if fps is None:
            return found
        return replace(found, notes=(*found.notes, "--fps is not used: a USD stage states its own times"))
    elif suffix == ".4dgs":
        return read_fourdgs(path, fps)
    elif suffix in INSTANTS:
        files, read = [path], INSTANTS[suffix]
    else:
        raise DamagedFileError(f"{path} is none of {', '.join(SUFFIXES)}, which can be read")
    shown = track(files, "Reading", transient=True, disable=len(files) < 2)
    tables = [read(file) for file in shown]
    rate = fps or USUAL_FPS
    seconds = [i / rate for i in range(len(files))]
    about = About(up=tables[0].up, fps=rate, observed=(0.0, seconds[-1]))
    return assemble(tables, seconds, about, path)


def _frames(folder: Path) -> list[Path]:
    """List the frames in a folder, all of one format.

    Raises:
        DatasetError: there is none, or there are several formats.
    """
    files = files_in(folder, INSTANTS)
    if not files:
        raise MissingFileError(
            f"{folder} holds no file of {', '.join(INSTANTS)}; give the folder with the frames"
        )
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        raise DamagedFileError(
            f"{folder} holds files of {' and '.join(kinds)}; give a folder with the frames alone"
        )
    return files
