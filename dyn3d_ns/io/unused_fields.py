"""What transforms files state that dynamic-object-data does not use, told in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_WORLD = "the world stays that of the poses"
_ROWS = "all rows of an image are taken to be of one moment"
_PIXELS = "pixels are taken as they are stored"
_EACH = "each frame states its own `time`"
_UNUSED = {
    "applied_transform": _WORLD, "applied_scale": _WORLD, "scale": _WORLD, "offset": _WORLD,
    "orientation_override": _WORLD, "from_mitsuba": _WORLD, "up": _WORLD,
    "aabb": "--scene-box sets the box", "render_aabb": "--scene-box sets the box",
    "rolling_shutter": _ROWS, "rolling_shutter_time": _ROWS, "transform_matrix_start": _ROWS,
    "transform_matrix_end": _ROWS, "camera_linear_velocity": _ROWS, "camera_angular_velocity": _ROWS,
    "white_transparent": _PIXELS, "black_transparent": _PIXELS, "mask_color": _PIXELS, "is_hdr": _PIXELS,
    "bg_color": _PIXELS, "background_color": _PIXELS,
    "times": _EACH, "timestamps": _EACH, "test_frames": "list them in a transforms_test.json",
    "is_bad": "such frames train like the others",
}  # fmt: skip
"""Fields that Nerfstudio, instant-ngp and converters to their format define, and what holds instead."""
_USED = ("file_path", "mask_path", "ply_file_path")
_DEPTH = ("depth_file_path", "depth_path")
_EMPTY = (None, False, 0, 1, 1.0, [], {}, [0, 0, 0], [0.0] * 4, "none")
"""Values that change nothing: there is nothing to tell of them."""


def unused_fields(files: Iterable[Mapping[str, Any]], frames: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line that names the stated fields which are not used though they matter; none if all are.

    Among them are all that name another file (`…_path`).
    """
    by_reason: dict[str, dict[str, None]] = {}
    for stated, of_frame in (*((f, False) for f in files), *((f, True) for f in frames)):
        for key, value in stated.items():
            reason = None if of_frame and _UNUSED.get(key) == _EACH else _reason(key)
            if reason is not None and not any(value is e or value == e for e in _EMPTY):
                by_reason.setdefault(reason, {})[key] = None
    if not by_reason:
        return []
    parts = [
        ", ".join(f"`{key}`" for key in keys) + (f" ({reason})" if reason else "")
        for reason, keys in by_reason.items()
    ]
    return [f"not used: {'; '.join(parts)}"]


def _reason(key: str) -> str | None:
    """Return what holds instead of a field; None for those that are used or change nothing."""
    if key in _DEPTH:
        return "video-data and dynamic-scene-data read depth"
    if key.endswith("_path") and key not in _USED:
        return ""
    return _UNUSED.get(key)
