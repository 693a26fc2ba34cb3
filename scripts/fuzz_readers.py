"""Every reader of ours, each with one small whole file (or folder) that it reads and that can be damaged."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_damage as damage
import fuzz_files as files
import fuzz_reads as reads
import fuzz_splats as splats
import numpy as np
from footage_files import write_das3r, write_sintel, write_transforms
from sintel_files import write_cam, write_dpt

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader, and what it reads."""

    name: str
    file: str
    """File to damage."""
    make: files.Make
    """Writes the file, and those beside it, into a folder."""
    read: Read
    """Reads the folder, all of what the reader gives."""
    damages: dict[str, damage.Damage] = field(default_factory=lambda: damage.BYTES)


def _call(module: str, function: str, *names: str, **options: Any) -> Read:
    """Return a reader that calls a function of ours with files of the folder."""

    def read(folder: Path) -> None:
        found = getattr(importlib.import_module(f"dyn3d_ns.{module}"), function)
        found(*(folder / name for name in names), **options)

    return read


def _sealed(data: bytes, rng: Any) -> bytes:
    """Damage what a part of a stream holds, with the length and checksum that fit."""
    from dyn3d_ns.io.stream.parts import HEAD_BYTES, Part, pack_part

    part = next(part for part in Part if part.code == data[5:6])
    kind = rng.choice(sorted(damage.BYTES))
    return pack_part(part, int.from_bytes(data[8:12], "little"), damage.BYTES[kind](data[HEAD_BYTES:], rng))


PART = {**damage.BYTES, "inside": _sealed, "inside-again": _sealed, "inside-too": _sealed}


_J, _A, _Z, _P = damage.JSON, damage.NPY, damage.NPZ, damage.PNG


def _clip_reader(file: str, damages: dict[str, damage.Damage]) -> Reader:
    return Reader(f"clip {file}", file, files.make_clip_folder, reads.read_clip, damages)


def _toy_reader(file: str, damages: dict[str, damage.Damage], dycheck: bool = False) -> Reader:
    kind = "dycheck" if dycheck else "dynamic-scene"
    return Reader(
        f"{kind} {file}", f"s/{file}", partial(files.make_toy, dycheck=dycheck), reads.read_toy, damages
    )


READERS: list[Reader] = [
    Reader("ply points", "points.ply", files.make_points, reads.read_ply),
    Reader("ply ascii", "points.ply", files.make_ascii_points, reads.read_ply),
    Reader("ply das3r", "s.ply", files.make_splats, reads.read_das3r_ply),
    Reader("flo", "f.flo", files.make_flo, _call("io.flow_files", "read_flo", "f.flo")),
    Reader("flow npz", "f.npz", files.make_flow_npz, _call("io.flow_files", "read_flow_npz", "f.npz"), _Z),
    Reader(
        "dpt",
        "d.dpt",
        lambda f: write_dpt(f / "d.dpt", np.ones((2, 3), np.float32)),
        _call("io.ground_truth", "read_dpt", "d.dpt"),
    ),
    Reader(
        "cam",
        "c.cam",
        lambda f: write_cam(f / "c.cam", np.eye(3), np.eye(4)),
        _call("io.ground_truth", "read_cam", "c.cam"),
    ),
    Reader(
        "sintel cam",
        "training/camdata_left/alley_1/frame_0001.cam",
        lambda f: write_sintel(f, files.cards()),
        reads.read_sintel,
    ),
    Reader(
        "sintel depth",
        "training/depth/alley_1/frame_0001.dpt",
        lambda f: write_sintel(f, files.cards()),
        reads.read_sintel,
    ),
    Reader("davis annotation", "Annotations/480p/alley_1/00000.png", files.make_davis, reads.read_davis, _P),
    Reader(
        "colmap cameras.txt",
        "sparse/0/cameras.txt",
        partial(files.make_colmap, suffix="txt"),
        reads.read_colmap,
    ),
    Reader(
        "colmap images.txt",
        "sparse/0/images.txt",
        partial(files.make_colmap, suffix="txt"),
        reads.read_colmap,
    ),
    Reader(
        "colmap points3D.txt",
        "sparse/0/points3D.txt",
        partial(files.make_colmap, suffix="txt"),
        reads.read_colmap,
    ),
    Reader(
        "colmap cameras.bin",
        "sparse/0/cameras.bin",
        partial(files.make_colmap, suffix="bin"),
        reads.read_colmap,
    ),
    Reader(
        "colmap images.bin",
        "sparse/0/images.bin",
        partial(files.make_colmap, suffix="bin"),
        reads.read_colmap,
    ),
    Reader(
        "colmap points3D.bin",
        "sparse/0/points3D.bin",
        partial(files.make_colmap, suffix="bin"),
        reads.read_colmap,
    ),
    Reader("tum", "tum.txt", files.make_trajectory, _call("io.trajectories", "read_cameras", "tum.txt")),
    Reader(
        "monst3r trajectory",
        "pred_traj.txt",
        files.make_trajectory,
        _call("io.trajectories", "read_cameras", "pred_traj.txt"),
    ),
    Reader(
        "monst3r intrinsics",
        "pred_intrinsics.txt",
        files.make_trajectory,
        _call("io.trajectories", "read_cameras", "pred_traj.txt"),
    ),
    Reader(
        "monst3r depth",
        "frame_0000.npy",
        lambda f: write_das3r(f, files.cards(), False),
        reads.read_footage,
        _A,
    ),
    Reader(
        "monst3r confidence",
        "conf_0.npy",
        lambda f: write_das3r(f, files.cards(), False),
        reads.read_footage,
        _A,
    ),
    Reader(
        "monst3r motion",
        "dyna_avg_0.npy",
        lambda f: write_das3r(f, files.cards(), False),
        reads.read_footage,
        _A,
    ),
    Reader(
        "video-data transforms.json",
        "transforms.json",
        lambda f: write_transforms(f, files.cards()),
        reads.read_transforms_cameras,
        _J,
    ),
    Reader(
        "video-data depth",
        "depth/0.png",
        lambda f: write_transforms(f, files.cards()),
        reads.read_transforms_cameras,
        _P,
    ),
    Reader(
        "cameras npz",
        "c.npz",
        files.make_camera_arrays,
        _call("io.trajectories", "read_cameras", "c.npz"),
        _Z,
    ),
    _clip_reader("clip.json", _J),
    _clip_reader("cameras/poses.npz", _Z),
    _clip_reader("cameras/points.npz", _Z),
    _clip_reader("cotrackerv3_10_50/results.npz", _Z),
    _clip_reader("unidepth/depth.npy", _A),
    _clip_reader("unidepth/info.json", _J),
    _clip_reader("flow/00000_00001.npz", _Z),
    _clip_reader("flow/flow_info.json", _J),
    _clip_reader("segmentation/label/00000.png", _P),
    _clip_reader("segmentation/instance_labels.json", _J),
    _clip_reader("key_frames/keyframe_info.json", _J),
    _clip_reader("dynamicBA/x/fused_4d.npz", _Z),
    Reader(
        "fused_4d", "fused_4d.npz", files.make_fused, _call("io.fused_4d", "read_fused", "fused_4d.npz"), _Z
    ),
    Reader(
        "fused_4d of DynamicVerse",
        "fused_4d.npz",
        files.make_dynamicverse_fused,
        _call("io.fused_4d", "read_fused", "fused_4d.npz"),
        _Z,
    ),
    Reader("masks npy", "masks/0.npy", files.npy_file(files.GREY, "masks/0.npy"), reads.read_given, _A),
    Reader("masks png", "masks/0.png", files.png_file("masks/0.png", files.GREY), reads.read_given, _P),
    Reader(
        "boxes.json",
        "boxes.json",
        files.json_file("boxes.json", {"objects": [{"name": "dog", "frame": 0, "box": [1, 2, 30, 40]}]}),
        reads.read_boxes,
        _J,
    ),
    Reader(
        "names.json",
        "n.json",
        files.json_file("n.json", {"dynamic": ["dog"], "reasoning": {"dog": "runs"}}),
        _call("video.masks.prompts", "read_names", "n.json"),
        _J,
    ),
    Reader(
        "depth stack",
        "d.npy",
        files.npy_file(np.ones((2, 3, 4), np.float32), "d.npy"),
        partial(reads.read_depth_files, name="d.npy"),
        _A,
    ),
    Reader(
        "depth npz",
        "d.npz",
        lambda f: np.savez(f / "d.npz", depth=np.ones((2, 3, 4), np.float32)),
        partial(reads.read_depth_files, name="d.npz"),
        _Z,
    ),
    Reader(
        "depth png",
        "0.png",
        files.png_file("0.png", np.full((3, 4), 900, np.uint16)),
        partial(reads.read_depth_files, count=1),
        _P,
    ),
    Reader(
        "depth map npy",
        "0.npy",
        files.npy_file(np.ones((3, 4), np.float32), "0.npy"),
        partial(reads.read_depth_files, count=1),
        _A,
    ),
    Reader("image png", "0.png", files.make_picture("0.png"), partial(reads.read_image, name="0.png"), _P),
    Reader(
        "image png palette",
        "0.png",
        files.make_picture("0.png", "P"),
        partial(reads.read_image, name="0.png"),
        _P,
    ),
    Reader("image jpg", "0.jpg", files.make_picture("0.jpg"), partial(reads.read_image, name="0.jpg")),
    Reader("image webp", "0.webp", files.make_picture("0.webp"), partial(reads.read_image, name="0.webp")),
    Reader("image bmp", "0.bmp", files.make_picture("0.bmp"), partial(reads.read_image, name="0.bmp")),
    Reader("image tif", "0.tif", files.make_picture("0.tif"), partial(reads.read_image, name="0.tif")),
    Reader("video", "v.mp4", files.make_video, reads.read_frames),
    Reader("video of a recording", "v.mp4", files.make_video, reads.read_recording_video),
    Reader("transforms.json", "transforms_train.json", files.make_scene, reads.read_scene, _J),
    _toy_reader("poses_bounds.npy", _A),
    _toy_reader("disp/000.npy", _A),
    _toy_reader("flow/000_fwd.npz", _Z),
    _toy_reader("motion_masks/000.png", _P),
    _toy_reader("dataset.json", _J, dycheck=True),
    _toy_reader("metadata.json", _J, dycheck=True),
    _toy_reader("scene.json", _J, dycheck=True),
    _toy_reader("extra.json", _J, dycheck=True),
    _toy_reader("camera/0_00000.json", _J, dycheck=True),
    _toy_reader("depth/1x/0_00000.npy", _A, dycheck=True),
    _toy_reader("points.npy", _A, dycheck=True),
    Reader(
        "recording poses_bounds.npy",
        "r/poses_bounds.npy",
        partial(files.make_recording, videos=False),
        reads.read_recording,
        _A,
    ),
    Reader(
        "recording video", "r/cam00.mp4", partial(files.make_recording, videos=True), reads.read_recording
    ),
    Reader("motion.json", "ground_truth/motion.json", files.make_motion, reads.read_motion, _J),
    Reader(
        "ground truth vertices",
        "ground_truth/ball_vertices.npz",
        files.make_motion,
        reads.read_motion,
        _Z,
    ),
    Reader(
        "ground truth depth", f"ground_truth/depth/{files.VIEW}.npz", files.make_motion, reads.read_motion, _Z
    ),
    Reader(
        "ground truth object ids",
        f"ground_truth/object_id/{files.VIEW}.png",
        files.make_motion,
        reads.read_motion,
        _P,
    ),
    Reader(
        "segmentation transforms.json",
        "transforms.json",
        files.make_segmentation,
        reads.read_segmentation,
        _J,
    ),
    Reader("segmentation labels", "0.npy", files.make_segmentation, reads.read_segmentation, _A),
    Reader(
        "splits",
        "splits.json",
        files.make_splits,
        _call("io.dynamic_scene.splits", "read_splits", "splits.json", names=["a"]),
        _J,
    ),
    Reader(
        "checkpoint",
        "step-000000003.ckpt",
        files.make_checkpoint,
        _call("engine.checkpoint", "load_checkpoint", "step-000000003.ckpt"),
        _Z,
    ),
    Reader(
        "weights",
        "w.pth",
        files.make_weights,
        _call("models.mononerf.weights", "read_weights", "w.pth", what="an encoder"),
        _Z,
    ),
    Reader("camera path", "path.json", files.make_camera_path, reads.read_path, _J),
    Reader(
        "config.yml",
        "config.yml",
        files.make_config,
        _call("engine.config_file", "load_config", "config.yml"),
    ),
    Reader("stream.json", "s/stream.json", files.make_gaussians, reads.read_stream, _J),
    Reader("stream of Gaussians, frame 0", "s/000000.init", files.make_gaussians, reads.read_stream, PART),
    Reader("stream of Gaussians, delta", "s/000001.delta", files.make_gaussians, reads.read_stream, PART),
    Reader("stream of Gaussians, key", "s/000002.key", files.make_gaussians, reads.read_stream, PART),
    Reader("voxels, stream.json", "s/stream.json", files.make_voxels, reads.read_stream, _J),
    Reader("stream of voxels, frame 0", "s/000000.init", files.make_voxels, reads.read_stream, PART),
    Reader("stream of voxels, delta", "s/000001.delta", files.make_voxels, reads.read_stream, PART),
    Reader("stage record", ".dyn3d/frames.json", files.make_records, reads.read_records, _J),
    Reader("manifest.json", "manifest.json", files.make_records, reads.read_records, _J),
    Reader("records of a stream", "frames.json", files.make_stream_run, reads.read_stream_run, _J),
    Reader("memory of a stream", "encoder/000001.npz", files.make_stream_run, reads.read_stream_run, _Z),
    *(
        Reader(name, file, partial(splats.make, name=name), partial(splats.read_file, name=name), kinds)
        for name, (file, _, kinds) in splats.FILES.items()
    ),
]
