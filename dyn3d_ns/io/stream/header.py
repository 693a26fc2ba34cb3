"""What a stream is of: its `stream.json`, and where a stream lies."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.errors import DamagedFileError, MissingFileError

FORMAT = "dyn3d-stream"
FORMAT_VERSION = 1
HEADER_NAME = "stream.json"
FOLDER_NAME = "stream"
"""Folder of a training's run in which its stream lies."""
_LARGEST = 1 << 24
"""Bytes above which a header is none."""


@dataclass(frozen=True)
class StreamHeader:
    """What all frames of a stream have in common."""

    kind: str
    """What the states are: `gaussians`, `voxels` or another name in small letters."""
    fps: float
    """Frames per second of real time."""
    frame_times: tuple[float, ...]
    """Scene time of each planned frame, rising; as many as the finished stream will have frames."""
    decoder: Mapping[str, int | str] = field(default_factory=dict)
    """What the decoder of this kind needs to know; whole numbers and text."""

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise ValueError(f"a stream's header: {wrong}")

    @property
    def planned_frames(self) -> int:
        """Frames that the finished stream will have."""
        return len(self.frame_times)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `stream.json`."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "kind": self.kind,
            "fps": self.fps,
            "frame_times": list(self.frame_times),
            "decoder": dict(self.decoder),
        }


def write_header(folder: Path, header: StreamHeader) -> None:
    """Write `stream.json`, atomically."""
    write_json(folder / HEADER_NAME, header.to_json())


def read_header(folder: Path) -> StreamHeader:
    """Read `stream.json`.

    Raises:
        MissingFileError: there is none.
        DamagedFileError: it is no such file, damaged, or of a newer version.
    """
    path = folder / HEADER_NAME
    if not path.is_file():
        raise MissingFileError(f"{folder} is no stream: it holds no {HEADER_NAME}")
    if path.stat().st_size > _LARGEST:
        raise DamagedFileError(f"{path}: a stream's header is never that large")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path}: the stream's header is no JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DamagedFileError(f"{path}: this is no stream's header (its format is not {FORMAT!r})")
    if found.get("version") != FORMAT_VERSION:
        raise DamagedFileError(
            f"{path}: the stream has version {found.get('version')!r}, but this program reads version "
            f"{FORMAT_VERSION}; update dyn3d_ns if the stream is newer"
        )
    try:
        return StreamHeader(
            found["kind"], float(found["fps"]), tuple(map(float, found["frame_times"])), found["decoder"]
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedFileError(f"{path}: the stream's header is damaged ({error})") from error


def find_stream(path: Path) -> Path:
    """Return the folder of a stream, given itself, the folder of a training's run or the run's config.yml.

    Raises:
        MissingFileError: there is no stream at that path.
    """
    run = path.parent if path.name == "config.yml" else path
    for folder in (run, run / FOLDER_NAME):
        if (folder / HEADER_NAME).is_file():
            return folder
    raise MissingFileError(
        f"there is no stream at {path}: give the folder that holds {HEADER_NAME}, or the folder or the "
        f"config.yml of a training whose {FOLDER_NAME}/ does"
    )


def _wrong(header: StreamHeader) -> str | None:
    """Return what is wrong with a header's values."""
    if not isinstance(header.kind, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", header.kind):
        return f"kind must be a name in small letters, got {header.kind!r}"
    if not math.isfinite(header.fps) or header.fps <= 0:
        return f"fps must be positive, got {header.fps}"
    times = header.frame_times
    if not times or not all(map(math.isfinite, times)) or any(b <= a for a, b in pairwise(times)):
        return "frame_times must be finite and rising, at least one"
    if not isinstance(header.decoder, Mapping) or not all(
        isinstance(name, str) and isinstance(value, int | str) for name, value in header.decoder.items()
    ):
        return f"decoder must hold whole numbers and text only, got {header.decoder!r}"
    return None
