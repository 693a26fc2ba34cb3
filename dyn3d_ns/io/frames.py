"""Merge the transforms files of a scene into one list of frames with cameras and splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image

from dyn3d_ns.geometry.bounds import group_poses
from dyn3d_ns.geometry.lenses import Undistortion
from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError, ImageSizeError
from dyn3d_ns.io.images import is_turned
from dyn3d_ns.io.intrinsics import Intrinsics, pinhole_of, same_proportion
from dyn3d_ns.io.loss_masks import check_mask_sizes
from dyn3d_ns.io.recognised import Recognised, read_object
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.io.transforms_json import Frame, TransformsFile, find_transforms
from dyn3d_ns.io.transforms_scene import TransformsScene, read_scene
from dyn3d_ns.timeline import TIME_EPS, Split, Timeline

POINT_FILES = ("points3d.ply", "points3D.ply", "sparse_pc.ply")
"""Point clouds that are used where no file states one."""


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
    masks: list[Path | None]
    """Images of what counts in training."""
    notes: list[str]
    """What a user should know of how they were read."""

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
    found: TransformsScene,
    t_obs: float | None = None,
    fps: float | None = None,
    hold_out_cameras: tuple[int, ...] = (),
) -> tuple[SceneFrames, Timeline]:
    """Merge the files of a scene, recover the cameras and give every frame its split.

    Args:
        found: What was read, the training file among it.
        t_obs: Last observed time; the last training frame's if None.
        fps: Frames per second of real time; as the files say, or the times' unit, if None.
        hold_out_cameras: Training cameras, numbered by first appearance, to evaluate on instead.
    """
    files = found.files
    entries = [(file, frame) for file in files for frame in file.frames]
    sources = [frame.split or file.label for file, frame in entries]
    labels = set(sources)
    train_label = "train" if "train" in labels else files[0].label
    if train_label != "train" and len(files) > 1:
        raise EmptySplitError(
            f"none of {', '.join(str(f.path) for f in files)} holds the training frames; "
            "name the file with them transforms_train.json"
        )
    times = np.array([frame.time for _, frame in entries])
    poses = np.stack([frame.camera_to_world for _, frame in entries])
    camera_ids = group_poses(poses)
    held_out = np.isin(camera_ids, np.array(hold_out_cameras, dtype=np.int64))
    training = np.array([source == train_label for source in sources]) & ~held_out
    timeline = _timeline(times, training, t_obs, fps if fps is not None else found.fps)
    if fps is None and found.fps is None and found.seconds:
        timeline = replace(timeline, fps=1.0 / (timeline.dt * found.seconds))
    splits = timeline.split_of(times.tolist(), training.tolist())
    keep, notes = _first_of_each_view(camera_ids, times, [frame.image for _, frame in entries], sources)
    _check_splits([splits[i] for i in keep], files)
    stored, turned = _image_sizes([entries[i][1].image for i in keep])
    if turned:
        notes.append(
            f"{len(turned)} images ({turned[0].name}, …) are turned by their EXIF data; pixels are taken as "
            "they are stored, as Nerfstudio takes them"
        )
    intrinsics, undistortions = _full_intrinsics([entries[i] for i in keep], stored)
    masks = [entries[i][1].mask for i in keep]
    sizes = [(int(w), int(h)) for w, h in intrinsics[:, 4:]]
    check_mask_sizes((m, size) for m, size in zip(masks, sizes, strict=True) if m is not None)
    scene = SceneFrames(
        images=[entries[i][1].image for i in keep],
        times=times[keep],
        poses=poses[keep],
        splits=[splits[i] for i in keep],
        sources=[sources[i] for i in keep],
        camera_ids=camera_ids[keep],
        intrinsics=intrinsics,
        undistortions=undistortions,
        masks=masks,
        notes=[*found.notes, *notes],
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


def _first_of_each_view(
    camera_ids: Int64[np.ndarray, "N"],
    times: Float64[np.ndarray, "N"],
    images: Sequence[Path],
    sources: Sequence[str],
) -> tuple[list[int], list[str]]:
    """Drop frames of a camera and time that another part has, as merged test files repeat training frames.

    Within a part only the same image again is a repetition: others are kept, whatever their times say.

    Returns:
        The frames to keep, and what is to be told.
    """
    seen: dict[tuple[int, int], tuple[str, set[Path]]] = {}
    keep: list[int] = []
    repeated = alike = 0
    moments = np.rint(times / TIME_EPS).astype(int).tolist()
    for i, view in enumerate(zip(camera_ids.tolist(), moments, strict=True)):
        source, shown = seen.setdefault(view, (sources[i], set()))
        if images[i] in shown or source != sources[i]:
            repeated += 1
            continue
        alike += bool(shown)
        shown.add(images[i])
        keep.append(i)
    several = len(keep) - len({images[i] for i in keep})
    told = {
        f"{repeated} frames repeat the camera and time of others and count once": repeated,
        f"{alike} frames have the camera and time of another image; all are kept": alike,
        f"{several} frames name an image that others name too, with another pose or time": several,
    }
    return keep, [note for note, count in told.items() if count]


def _check_splits(splits: list[Split], files: Sequence[TransformsFile]) -> None:
    if "interp" not in splits and "future" not in splits:
        raise EmptySplitError(
            f"{', '.join(str(f.path) for f in files)}: no frame is left to evaluate on; add "
            "transforms_val.json or transforms_test.json with frames that are not in training, or hold some "
            "training frames back with the dataparser's `--hold-out-cameras <ids>` or `--t-obs <time>`"
        )


def _full_intrinsics(
    entries: list[tuple[TransformsFile, Frame]], sizes: Sequence[tuple[int, int]]
) -> tuple[Float64[np.ndarray, "N 6"], list[Undistortion | None]]:
    """Return fx, fy, cx, cy, width, height of every frame, and how its lens is undone."""
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


def _image_sizes(images: Sequence[Path]) -> tuple[list[tuple[int, int]], list[Path]]:
    """Return width and height of images, and which of them EXIF data turn; only headers are read."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_header, images))
    turned = [path for path, (_, is_so) in zip(images, found, strict=True) if is_so]
    return [size for size, _ in found], turned


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    try:
        with Image.open(path) as image:
            return image.size, is_turned(image)
    except image_errors() as error:
        raise DamagedFileError(
            f"{path} is not a readable image ({error}); restore it from the original"
        ) from error


def points_of(root: Path, scene: TransformsScene) -> Path | None:
    """Return the point cloud of a scene: the one that its files state, or one by a usual name."""
    stated = scene.points_file()
    if stated is not None:
        return stated
    return next((path for name in POINT_FILES if (path := root / name).is_file()), None)


def recognise_transforms(path: Path) -> Recognised | None:
    """D-NeRF, NVFi's Dynamic Object and Indoor Scene, and Nerfstudio's own transforms.json."""
    try:
        listed = find_transforms(path)
    except DatasetError:
        return None
    names = ", ".join(p.relative_to(path).as_posix() for _, p in listed)
    command = f"ns-train dyn3d-velocity-fast --data {shell_word(path)}"
    try:
        found = read_scene(path)
        scene, timeline = assemble_scene(found)
        points = points_of(path, found)
    except DatasetError as error:
        facts = {"files": names, "frames": str(sum(_count_frames(p) for _, p in listed))}
        return Recognised("transforms.json", facts, [str(error)], [command])
    splits = {split: scene.splits.count(split) for split in ("train", "interp", "future")}
    sizes = dict.fromkeys(f"{w:g}x{h:g}" for w, h in scene.intrinsics[:, 4:])
    facts = {
        "files": names,
        "images": str(len(scene.images)),
        "image size": ", ".join(list(sizes)[:4]) + (", …" if len(sizes) > 4 else ""),
        "lens": scene.lens_note() or "pinhole",
        "cameras": str(len(set(scene.camera_ids.tolist()))),
        "times": f"{timeline.num_frames}, {timeline.frame_times[0]:.3g} to {timeline.frame_times[-1]:.3g}",
        "last observed time": f"{timeline.t_obs:.3g}",
        "splits": ", ".join(f"{name} {count}" for name, count in splits.items()),
        "points": "none" if points is None else points.relative_to(path).as_posix(),
    }
    if any(scene.masks):
        facts["masks"] = f"of {sum(m is not None for m in scene.masks)} images, which weigh the loss"
    return Recognised("Dynamic Object / D-NeRF (transforms files)", facts, use=[command], notes=scene.notes)


def _count_frames(path: Path) -> int:
    frames = read_object(path).get("frames")
    return len(frames) if isinstance(frames, list) else 0
