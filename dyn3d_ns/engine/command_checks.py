"""What Nerfstudio's commands cannot do with a method of ours, said before a scene is loaded.

Each check takes the process's arguments, with the command first and without the program's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dyn3d_ns.engine.method import DynamicMethod
from dyn3d_ns.io.damage import JSON_ERRORS, is_number
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.outputs import require_output_file, require_writable
from dyn3d_ns.io.shell import shell_word

PROJECTIONS = ("perspective", "fisheye", "equirectangular", "vr180", "omnidirectional")
"""Projections of camera paths that Nerfstudio knows; it takes any other word for the first."""
_STEREO = "omnidirectional"
_NEEDED = ("seconds", "render_height", "render_width", "camera_path")
"""What `ns-render camera-path` reads of its file without a default."""
_OF_RAYS = ("pointcloud", "tsdf", "poisson", "marching-cubes")
"""Exports that fuse the rays of one scene that does not move."""
_RENDERS = ("camera-path", "interpolate", "spiral", "dataset")
_VIDEOS = (".mp4", ".mov", ".mkv", ".m4v", ".avi")
"""Files that Nerfstudio's encoder writes."""


def check(program: str, arguments: Sequence[str], method: type[DynamicMethod]) -> None:
    """Refuse what cannot succeed: a command, an option, a file to read or a place to write to.

    Raises:
        UserError: it does not work with the method, or with these arguments.
    """
    command = arguments[0] if arguments else ""
    if command in _RENDERS:
        _check_render(command, arguments, method)
    elif command in (*_OF_RAYS, "cameras", "gaussian-splat"):
        _check_export(command, arguments, method)
    elif Path(program).stem == "ns-eval":
        path = Path(value_of("--output-path", arguments) or "output.json")
        require_output_file(path, (".json",), "--output-path")
        pictures = value_of("--render-output-path", arguments)
        if pictures is not None:
            require_writable(Path(pictures), "--render-output-path")


def _check_render(command: str, arguments: Sequence[str], method: type[DynamicMethod]) -> None:
    config = shell_word(value_of("--load-config", arguments) or "CONFIG")
    if command == "spiral":
        raise UserError(
            "`ns-render spiral` asks a datamanager of Nerfstudio's own for a camera, and methods of scenes "
            f"that move have another; write the path with `dyn3d path spiral --load-config {config} --output "
            f"spiral.json` and render it with `ns-render camera-path --load-config {config} "
            "--camera-path-filename spiral.json --output-path spiral.mp4`"
        )
    if (value_of("--render-nearest-camera", arguments) or "").lower() in ("true", "1"):
        raise UserError(
            "--render-nearest-camera asks single rays of a scene without time; leave it out, "
            f"`ns-render dataset --load-config {config}` shows the recorded images beside the rendered ones "
            "(outputs gt-rgb and rgb)"
        )
    as_pictures = command == "dataset" or value_of("--output-format", arguments) == "images"
    if "rgba" in arguments and not (as_pictures and value_of("--image-format", arguments) == "png"):
        raise UserError(
            "the output rgba has a channel that JPEG and video have not: give --image-format png"
            + ("" if as_pictures else " and --output-format images")
        )
    if command == "camera-path":
        check_camera_path(arguments, method)
    default = "renders" if command == "dataset" else "renders/output.mp4"
    path = Path(value_of("--output-path", arguments) or default)
    if as_pictures:
        path = path if command == "dataset" else path.with_suffix("")
        require_writable(path, "--output-path")
    else:
        path = path if path.suffix or command != "camera-path" else path.with_suffix(".mp4")
        require_output_file(path, _VIDEOS, "--output-path")


def _check_export(command: str, arguments: Sequence[str], method: type[DynamicMethod]) -> None:
    config = shell_word(value_of("--load-config", arguments) or "CONFIG")
    if command in _OF_RAYS:
        there = (
            f"`dyn3d export ply --load-config {config} --times 0.5 --output-dir splats` writes the Gaussians "
            "of a moment"
            if method.has_gaussians
            else f"`ns-render dataset --load-config {config} --rendered-output-names rgb raw-depth` gives "
            "colours and depths of each image at its time"
        )
        raise UserError(
            f"`ns-export {command}` fuses the rays of a scene that does not move, and {method.__name__} is a "
            f"method of scenes that do; {there}"
        )
    if command == "gaussian-splat" and not method.has_gaussians:
        raise UserError(
            f"`ns-export gaussian-splat` needs a method of Gaussians, and {method.__name__} has none; "
            f"`ns-render` shows what it has learned"
        )
    place = value_of("--output-dir", arguments)
    if place is not None:
        require_writable(Path(place), "--output-dir")
        require_writable(
            Path(place, value_of("--output-filename", arguments) or "splat.ply").parent, "--output-dir"
        )


def check_camera_path(arguments: Sequence[str], method: type[DynamicMethod]) -> None:
    """Check the file of `ns-render camera-path`.

    Raises:
        UserError: it is not there, is no JSON, lacks a key, or asks for what cannot be rendered.
    """
    option = "--camera-path-filename"
    path = Path(value_of(option, arguments) or "camera_path.json")
    remedy = "`dyn3d path orbit --load-config … --output orbit.json` writes one, and so does the viewer"
    if not path.is_file():
        raise UserError(f"{option} {path} is {'a folder' if path.is_dir() else 'not there'}; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except JSON_ERRORS as error:
        raise UserError(f"{option} {path} is no JSON ({error}); {remedy}") from error
    lacking = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if lacking:
        raise UserError(f"{option} {path} lacks {lacking[0]!r}; {remedy}")
    wrong = _wrong_in_path(content, method)
    if wrong is not None:
        raise UserError(f"{option} {path}: {wrong}")
    if not any("render_time" in camera for camera in content["camera_path"]):
        print(f"{path} gives its cameras no render_time: they show the scene at time 0.")


def _wrong_in_path(content: dict[str, Any], method: type[DynamicMethod]) -> str | None:
    """Return what is wrong with a camera path, as the rest of a sentence; None if nothing is."""
    known = ", ".join(p for p in PROJECTIONS if method.renders_stereo or p != _STEREO)
    kind = content.get("camera_type", PROJECTIONS[0])
    if kind not in PROJECTIONS or (kind == _STEREO and not method.renders_stereo):
        return f"camera_type is {kind!r}; {method.__name__} renders {known}"
    if not (is_number(content["seconds"]) and content["seconds"] > 0):
        return f"seconds must be a positive number, and are {content['seconds']!r}"
    for key in ("render_width", "render_height"):
        size = content[key]
        if not (is_number(size) and size >= 1 and size == int(size)):
            return f"{key} must be a whole number of pixels, and is {size!r}"
    if content.get("crop") is not None and not method.has_gaussians:
        return f"it crops the scene, which {method.__name__} does not do; take 'crop' out of the file"
    cameras = content["camera_path"]
    if not isinstance(cameras, list) or not cameras:
        return "camera_path must be a list of cameras, and holds none; the viewer and `dyn3d path` write some"
    for number, camera in enumerate(cameras):
        wrong = _wrong_in_camera(camera, kind)
        if wrong is not None:
            return f"camera {number} of its camera_path {wrong}"
    timed = ["render_time" in camera for camera in cameras]
    if any(timed) and not all(timed):
        return (
            f"camera {timed.index(False)} of its camera_path has no render_time, though others have; "
            "give all cameras one, or none"
        )
    return None


def _wrong_in_camera(camera: Any, kind: str) -> str | None:
    """Return what is wrong with a camera of a path of a projection, as the rest of a sentence."""
    if not isinstance(camera, dict):
        return "is no object with a camera_to_world"
    own = camera.get("camera_type", kind)
    if own != kind:
        return f"has a camera_type of its own, {own!r}; a path has one for all, and this one's is {kind!r}"
    pose = camera.get("camera_to_world")
    if not isinstance(pose, list) or len(pose) != 16 or not all(map(is_number, pose)):
        return "has no camera_to_world of 16 finite numbers"
    fov: Any = camera.get("fov")
    if kind in PROJECTIONS[:2] and not (is_number(fov) and 0 < fov < 180):
        return f"must have a fov between 0 and 180 degrees, and has {fov!r}"
    if "render_time" in camera and not is_number(camera["render_time"]):
        return f"must have a finite number as its render_time, and has {camera['render_time']!r}"
    return None


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return an option's value or None; as in tyro with dashes or underscores, an equals sign or none."""
    found = None
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            found = value if equals else following
    return found
