"""What transforms files state that is not used, told in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dyn3d_ns.io.frame_times import is_time_key
from dyn3d_ns.io.intrinsics import KEYS as INTRINSICS
from dyn3d_ns.io.split_lists import LISTS

_WORLD = "the world stays that of the poses"
_BOX = "the box is found from points or cameras"
_ROWS = "all rows of an image are taken to be of one moment"
_DEPTH = "video-data reads depth, from `depth_file_path`, and dynamic-scene-data"
_PIXELS = "pixels are taken as they are stored"
_EACH = "times are those that the frames state"
_UNUSED = {
    "applied_transform": _WORLD, "applied_scale": _WORLD, "scale": _WORLD, "offset": _WORLD,
    "orientation_override": _WORLD, "from_mitsuba": _WORLD, "up": _WORLD,
    "aabb": _BOX, "render_aabb": _BOX,
    "rolling_shutter": _ROWS, "rolling_shutter_time": _ROWS, "transform_matrix_start": _ROWS,
    "transform_matrix_end": _ROWS, "camera_linear_velocity": _ROWS, "camera_angular_velocity": _ROWS,
    "white_transparent": _PIXELS, "black_transparent": _PIXELS, "mask_color": _PIXELS, "is_hdr": _PIXELS,
    "bg_color": _PIXELS, "background_color": _PIXELS,
    "times": _EACH, "timestamps": _EACH, "test_frames": "list them in a transforms_test.json",
    "depth_file_path": _DEPTH, "depth_path": _DEPTH,
    "is_bad": "such frames train like the others",
}  # fmt: skip
"""Fields that Nerfstudio, instant-ngp and converters to their format define, and what holds instead."""
_USED = {
    "frames", "data", "file_path", "transform_matrix", "mask_path", "ply_file_path", "fps",
    *LISTS, *INTRINSICS,
}  # fmt: skip
_HARMLESS = {
    "sharpness", "rotation", "colmap_im_id", "aabb_scale", "n_extra_learnable_dims", "id", "name", "image_id",
    "camera", "camera_id", "camera_name", "cam", "cam_id", "view", "view_id", "depth_unit_scale_factor",
    "integer_depth_scale", "version", "comment",
}  # fmt: skip
"""Fields that say nothing which images, cameras and times do not say."""
_EMPTY = (None, False, 0, 1, 1.0, [], {}, [0, 0, 0], [0.0] * 4, "none", "")
"""Values that change nothing: there is nothing to tell of them."""
_MOST = 8
"""Fields of one reason that are named."""


def unused_fields(
    files: Iterable[Mapping[str, Any]], frames: Iterable[Mapping[str, Any]], used: Iterable[str] = ()
) -> list[str]:
    """Return a line that names the stated fields which are not used though they may matter; none if all are.

    Among them are all that nobody knows.

    Args:
        files: What each file states.
        frames: What each frame states.
        used: Fields that the caller uses beside those that every reader does.
    """
    used = {*_USED, *_HARMLESS, *used}
    by_reason: dict[str, dict[str, None]] = {}
    for stated, of_frame in (*((f, False) for f in files), *((f, True) for f in frames)):
        for key, value in stated.items():
            if (
                key in used
                or (of_frame and is_time_key(key))
                or any(value is e or value == e for e in _EMPTY)
            ):
                continue
            reason = _UNUSED.get(key, "")
            by_reason.setdefault(reason, {})[key] = None
    if not by_reason:
        return []
    parts = [_listed(list(keys)) + (f" ({reason})" if reason else "") for reason, keys in by_reason.items()]
    return [f"not used: {'; '.join(parts)}"]


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _MOST} more" if len(keys) > _MOST else ""
    return ", ".join(f"`{key}`" for key in keys[:_MOST]) + more
