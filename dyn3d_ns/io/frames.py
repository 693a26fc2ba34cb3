"""Merge the transforms files of a scene into one list of frames with cameras and splits."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image

from dyn3d_ns.geometry.bounds import group_poses
from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError, ImageSizeError
from dyn3d_ns.io.intrinsics import Intrinsics, pinhole_of, same_proportion
from dyn3d_ns.io.recognised import Recognised, read_object
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.io.transforms_json import Frame, TransformsFile, find_transforms, read_transforms
from dyn3d_ns.timeline import TIME_EPS, Split, Timeline


class SceneFrames(NamedTuple):
    """Every frame of a scene with what is known of it, as parallel sequences."""

    images: list[Path]
    times: Float64[np.ndarray, "N"]
    poses: Float64[np.ndarray, "N 4 4"]
    splits: list[Split]
    sources: list[str]
    camera_ids: Int64[np.ndarray, "N"]
    intrinsics: Float64[np.ndarray, "N 6"]
    """fx, fy, cx, cy, width, height at full resolution, lenses undone."""
    undistortions: list[Undistortion | None]
    """How the lens of each image is undone; None where there is none."""

    def lens_note(self) -> str | None:
        """Say in one line which lenses are undone; None where there are none."""
        bent = [str(undo.lens) for undo in self.undistortions if undo is not None]
        if not bent:
            return None
        named = list(dict.fromkeys(bent))
        others = f" and {len(named) - 1} others" if len(named) > 1 else ""
        images = "all" if len(bent) == len(self.images) else f"{len(bent)} of {len(self.images)}"
        return f"{named[0]}{others}, undone in {images} images as they are loaded"


def assemble_scene(
    files: list[TransformsFile],
    t_obs: float | None = None,
    fps: float | None = None,
    hold_out_cameras: tuple[int, ...] = (),
) -> tuple[SceneFrames, Timeline]:
    """Merge the files of a scene, recover the cameras and give every frame its split.

    Args:
        files: What was read, the training file among them.
        t_obs: Last observed time; the last training frame's if None.
        fps: Frames per second of real time; None if unknown.
        hold_out_cameras: Training cameras, numbered by first appearance, to evaluate on instead.
    """
    entries = [(file, frame) for file in files for frame in file.frames]
    labels = {file.label for file in files}
    train_label = "train" if "train" in labels else next(iter(labels))
    if train_label != "train" and len(files) > 1:
        raise EmptySplitError(
            f"none of {', '.join(str(f.path) for f in files)} holds the training frames; "
            "name the file with them transforms_train.json"
        )
    times = np.array([frame.time for _, frame in entries])
    poses = np.stack([frame.camera_to_world for _, frame in entries])
    camera_ids = group_poses(poses)
    held_out = np.isin(camera_ids, np.array(hold_out_cameras, dtype=np.int64))
    training = np.array([file.label == train_label for file, _ in entries]) & ~held_out
    timeline = _timeline(times, training, t_obs, fps)
    splits = timeline.split_of(times.tolist(), training.tolist())
    keep = _first_of_each_view(camera_ids, times)
    _check_splits([splits[i] for i in keep], files)
    intrinsics, undistortions = _full_intrinsics([entries[i] for i in keep])
    scene = SceneFrames(
        images=[entries[i][1].image for i in keep],
        times=times[keep],
        poses=poses[keep],
        splits=[splits[i] for i in keep],
        sources=[entries[i][0].label for i in keep],
        camera_ids=camera_ids[keep],
        intrinsics=intrinsics,
        undistortions=undistortions,
    )
    return scene, timeline


def _timeline(
    times: Float64[np.ndarray, "N"], training: Bool[np.ndarray, "N"], t_obs: float | None, fps: float | None
) -> Timeline:
    if not training.any():
        raise EmptySplitError("no training frame is left: all training cameras are held out")
    t_obs = float(times[training].max()) if t_obs is None else t_obs
    if not times[training].min() <= t_obs + TIME_EPS:
        raise EmptySplitError(
            f"t_obs {t_obs} lies before the first training frame at {times[training].min()}"
        )
    # Held-out frames at times of their own (D-NeRF's test and val) are no frames of the recording.
    recorded = training | (times > t_obs + TIME_EPS)
    return Timeline.from_times(times[recorded], t_obs, fps)


def _first_of_each_view(camera_ids: Int64[np.ndarray, "N"], times: Float64[np.ndarray, "N"]) -> list[int]:
    """Drop frames of a camera and time that an earlier file has: merged test files repeat frames."""
    seen: set[tuple[int, int]] = set()
    keep: list[int] = []
    for i, key in enumerate(
        zip(camera_ids.tolist(), np.rint(times / TIME_EPS).astype(int).tolist(), strict=True)
    ):
        if key not in seen:
            seen.add(key)
            keep.append(i)
    return keep


def _check_splits(splits: list[Split], files: list[TransformsFile]) -> None:
    if "interp" not in splits and "future" not in splits:
        raise EmptySplitError(
            f"{', '.join(str(f.path) for f in files)}: no frame is left to evaluate on; add "
            "transforms_val.json or transforms_test.json with frames that are not in training, or hold some "
            "training frames back with the dataparser's `--hold-out-cameras <ids>` or `--t-obs <time>`"
        )


def _full_intrinsics(
    entries: list[tuple[TransformsFile, Frame]],
) -> tuple[Float64[np.ndarray, "N 6"], list[Undistortion | None]]:
    """Return fx, fy, cx, cy, width, height of every frame, and how its lens is undone."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        sizes = list(pool.map(lambda entry: _image_size(entry[1].image), entries))
    first: dict[tuple[Path, Intrinsics], tuple[int, int]] = {}
    rows, undistortions = [], []
    for (file, frame), (w, h) in zip(entries, sizes, strict=True):
        known = frame.intrinsics
        want = first.setdefault((file.path, known), (w, h))
        unlike = (w, h) != want if known.in_pixels else not same_proportion(want, (w, h))
        if unlike and known.w is None and known.h is None:
            raise ImageSizeError(
                f"{frame.image} is {w}x{h}, but {file.path} expects {want[0]}x{want[1]}, the size of its "
                "first image; resize it, or state `w`, `h` and the focal length of each frame in the file"
            )
        try:
            pinhole, undo = pinhole_of(known, w, h)
        except DatasetError as error:
            raise type(error)(f"{frame.image} {error} in {file.path}") from error
        rows.append((*pinhole, w, h))
        undistortions.append(undo)
    return np.array(rows, dtype=np.float64), undistortions


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error


def is_transparent(path: Path) -> bool:
    """Tell whether an image has pixels that are not opaque."""
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return False
            return image.convert("RGBA").getextrema()[3][0] < 250
    except OSError as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error


def recognise_transforms(path: Path) -> Recognised | None:
    """D-NeRF, NVFi's Dynamic Object and Indoor Scene, and Nerfstudio's own transforms.json."""
    try:
        found = find_transforms(path)
    except DatasetError:
        return None
    names = ", ".join(p.relative_to(path).as_posix() for _, p in found)
    command = f"ns-train dyn3d-velocity-fast --data {shell_word(path)}"
    try:
        files = [read_transforms(p, path, label) for label, p in found]
        scene, timeline = assemble_scene(files)
    except DatasetError as error:
        facts = {"files": names, "frames": str(sum(_count_frames(p) for _, p in found))}
        return Recognised("transforms.json", facts, [str(error)], [command])
    splits = {split: scene.splits.count(split) for split in ("train", "interp", "future")}
    sizes = dict.fromkeys(f"{w:g}x{h:g}" for w, h in scene.intrinsics[:, 4:])
    points = [name for name in ("points3d.ply", "points3D.ply", "sparse_pc.ply") if (path / name).is_file()]
    facts = {
        "files": names,
        "images": str(len(scene.images)),
        "image size": ", ".join(list(sizes)[:4]) + (", …" if len(sizes) > 4 else ""),
        "lens": scene.lens_note() or "pinhole",
        "cameras": str(len(set(scene.camera_ids.tolist()))),
        "times": f"{timeline.num_frames}, {timeline.frame_times[0]:.3g} to {timeline.frame_times[-1]:.3g}",
        "last observed time": f"{timeline.t_obs:.3g}",
        "splits": ", ".join(f"{name} {count}" for name, count in splits.items()),
        "points": ", ".join(points) or "none",
    }
    return Recognised("Dynamic Object / D-NeRF (transforms files)", facts, use=[command])


def _count_frames(path: Path) -> int:
    frames = read_object(path).get("frames")
    return len(frames) if isinstance(frames, list) else 0
