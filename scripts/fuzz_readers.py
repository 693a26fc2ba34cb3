"""Every reader of ours, each with one small whole file (or folder) that it reads and that can be damaged."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_damage as damage
import fuzz_files as files
import numpy as np
from footage_files import write_das3r, write_sintel, write_transforms
from sintel_files import write_cam, write_dpt

from dyn3d_ns.io.clip.folder import ClipFolder
from dyn3d_ns.io.errors import UserError

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


def _ply(folder: Path) -> None:
    from dyn3d_ns.io.ply import read_points

    read_points(folder / "points.ply")


def _das3r_ply(folder: Path) -> None:
    from dyn3d_ns.io.das3r_ply import read_das3r_ply

    read_das3r_ply(folder / "s.ply")


def _call(
    module: str, function: str, *names: str, after: Callable[[Any], object] | None = None, **options: Any
) -> Read:
    """Return a reader that calls a function with files of the folder."""

    def read(folder: Path) -> None:
        found = getattr(importlib.import_module(f"dyn3d_ns.{module}"), function)(
            *(folder / n for n in names), **options
        )
        if after is not None:
            after(found)

    return read


def _read_colmap(folder: Path) -> None:
    from dyn3d_ns.io.trajectories import read_cameras, read_colmap

    _each(partial(read_cameras, folder, "colmap"), partial(read_colmap, folder), partial(_footage, folder))


def _each(*reads: Callable[[], object]) -> None:
    """Read one thing after another, also after an error of ours, of which the last is raised at the end."""
    last = None
    for read in reads:
        try:
            read()
        except UserError as error:
            last = error
    if last is not None:
        raise last


def _footage(folder: Path) -> None:
    from dyn3d_ns.io.footage.layouts import open_footage

    with contextlib.suppress(UserError):
        _describe(folder)
    footage = open_footage(folder)
    maps = [
        partial(getattr(footage, name), 0)
        for name in ("dynamic_mask", "motion", "depth")
        if name in footage.names
    ]
    if "flow" in footage.names:
        maps.append(partial(footage.flow, 0, 1))
    if "tracks" in footage.names:
        maps.append(footage.tracks)
    _each(footage.cameras, *maps, partial(footage.points, 0))


def _describe(folder: Path) -> None:
    from dyn3d_ns.io.layouts import describe

    describe(folder)


def _sintel(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import SintelTruth

    truth = SintelTruth.open(folder)
    maps = (truth.depth, truth.flow, truth.moving, truth.hidden, truth.invalid)
    _each(
        truth.cameras,
        *(partial(read, 0) for read in maps),
        partial(_describe, folder),
        partial(_footage, folder / "training/final/alley_1"),
    )


def _read_davis(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import SintelTruth

    SintelTruth.open(folder, "alley_1").instances(0)


def _read_clip(folder: Path) -> None:
    clip = ClipFolder(folder)

    def fused() -> None:
        found = clip.fused()
        if found is not None:
            found.moving(2)

    _each(
        lambda: clip.times,
        lambda: clip.size,
        lambda: clip.instance_names,
        clip.depth_is_triangulated,
        clip.mask_files,
        clip.cameras,
        clip.tracks,
        clip.points,
        clip.sparse_points,
        clip.flow_model,
        clip.keyframes,
        fused,
        *(partial(read, 0) for read in (clip.image, clip.labels, clip.motion, clip.depth)),
        partial(clip.flow, 0, 1),
        partial(_footage, folder),
    )


def _given(folder: Path) -> None:
    from dyn3d_ns.video.masks.given import read_given

    frames, _ = read_given(folder / "masks", 1, 16, 12)
    list(frames)


def _boxes(folder: Path) -> None:
    from dyn3d_ns.video.masks.prompts import read_boxes

    read_boxes(folder / "boxes.json", 5, 100, 80)


def _depth_files(folder: Path, name: str = "", count: int = 2) -> None:
    from dyn3d_ns.video.depth.given import DepthFiles

    maps = DepthFiles(folder / name, count)
    for i in range(count):
        maps[i]


def _frames(folder: Path, name: str = "v.mp4") -> None:
    from dyn3d_ns.video.frames.decode import Source

    source = Source(folder / name)
    _each(
        partial(source.count_hint, None),
        lambda: [frame.number for frame in source.frames()],
        partial(_describe, folder / name),
    )


def _recording_video(folder: Path) -> None:
    from dyn3d_ns.io.recordings.readers import VideoFrames

    for start in (0, 2):
        for decode in VideoFrames(folder / "v.mp4").frames_from(start):
            decode()


def _image(folder: Path, name: str) -> None:
    from dyn3d_ns.io.arrays import read_png
    from dyn3d_ns.io.frames import is_transparent
    from dyn3d_ns.io.images import read_image
    from dyn3d_ns.io.recognised import image_sizes

    path = folder / name
    _each(
        partial(read_image, path, alpha=True),
        partial(read_png, path, None),
        partial(image_sizes, [path]),
        partial(is_transparent, path),
        partial(_frames, folder, "."),
    )


def _read_scene(folder: Path) -> None:
    from dyn3d_ns.io.frames import assemble_scene
    from dyn3d_ns.io.transforms_json import find_transforms, read_transforms

    _each(
        partial(_describe, folder),
        lambda: assemble_scene(
            [read_transforms(path, folder, label) for label, path in find_transforms(folder)]
        ),
    )


def _transforms_cameras(folder: Path) -> None:
    from dyn3d_ns.io.trajectories import read_cameras

    _each(partial(read_cameras, folder / "transforms.json"), partial(_footage, folder))


def _read_toy(folder: Path) -> None:
    from dyn3d_ns.io.dynamic_scene.opening import open_scene

    def scene() -> None:
        found = open_scene(folder / "s")
        maps = (found.mask, found.depth, found.relative_disparity)
        _each(
            lambda: found.times,
            lambda: found.fps,
            found.cameras,
            found.bounds,
            found.points,
            found.views,
            found.side_files,
            partial(found.flow, 0, 1),
            *(partial(read, 0) for read in maps),
        )

    _each(partial(_describe, folder / "s"), scene)


def _read_recording(folder: Path) -> None:
    from dyn3d_ns.io.recordings.opening import open_recording

    _each(partial(open_recording, folder / "r"), partial(_describe, folder / "r"))


def _read_motion(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import load_motion_ground_truth, sample_surfaces

    sample_surfaces(load_motion_ground_truth(folder / "ground_truth/motion.json"))


def _read_segmentation(folder: Path) -> None:
    from dyn3d_ns.io.segmentation import read_segmentation

    for frame in read_segmentation(folder):
        frame.labels()


def _path(folder: Path) -> None:
    from dyn3d_ns.engine.commands import check_camera_path

    check_camera_path(["ns-render", "camera-path", "--camera-path-filename", str(folder / "path.json")])


def _stream(folder: Path) -> None:
    from dyn3d_ns.io.stream.decoders import decoder_of
    from dyn3d_ns.io.stream.look import background_of, start_camera_of
    from dyn3d_ns.io.stream.player import StreamPlayer
    from dyn3d_ns.io.stream.reader import StreamReader
    from dyn3d_ns.io.stream.verify import verify_stream

    with contextlib.suppress(UserError):
        _describe(folder / "s")
    reader = StreamReader(folder / "s")
    decoder = decoder_of(reader.header)
    player = StreamPlayer(reader, decoder)
    _each(
        partial(start_camera_of, reader.header),
        partial(background_of, reader.header),
        reader.sizes,
        reader.gap,
        reader.cut_short,
        lambda: list(verify_stream(reader, decoder)),
        *(partial(player.seek, frame) for frame in range(reader.num_frames())),
    )


def _sealed(data: bytes, rng: Any) -> bytes:
    """Damage what a part of a stream holds, with the length and checksum that fit."""
    from dyn3d_ns.io.stream.parts import HEAD_BYTES, Part, pack_part

    part = next(part for part in Part if part.code == data[5:6])
    kind = rng.choice(sorted(damage.BYTES))
    return pack_part(part, int.from_bytes(data[8:12], "little"), damage.BYTES[kind](data[HEAD_BYTES:], rng))


PART = {**damage.BYTES, "inside": _sealed, "inside-again": _sealed, "inside-too": _sealed}


def _read_records(folder: Path) -> None:
    from dyn3d_ns.io.clip.workspace import Workspace
    from dyn3d_ns.video.records import Records

    records = Records(Workspace(folder))
    records.read("frames")
    records.manifest_stages()


def _read_stream_run(folder: Path) -> None:
    from dyn3d_ns.engine.stream_run import StreamRun

    run = StreamRun(folder)
    run.figures()
    run.last()


_J, _A, _Z, _P = damage.JSON, damage.NPY, damage.NPZ, damage.PNG


def _clip_reader(file: str, damages: dict[str, damage.Damage]) -> Reader:
    return Reader(f"clip {file}", file, files.make_clip_folder, _read_clip, damages)


def _toy_reader(file: str, damages: dict[str, damage.Damage], dycheck: bool = False) -> Reader:
    kind = "dycheck" if dycheck else "dynamic-scene"
    return Reader(f"{kind} {file}", f"s/{file}", partial(files.make_toy, dycheck=dycheck), _read_toy, damages)


READERS: list[Reader] = [
    Reader("ply points", "points.ply", files.make_points, _ply),
    Reader("ply ascii", "points.ply", files.make_ascii_points, _ply),
    Reader("ply das3r", "s.ply", files.make_splats, _das3r_ply),
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
        _sintel,
    ),
    Reader(
        "sintel depth",
        "training/depth/alley_1/frame_0001.dpt",
        lambda f: write_sintel(f, files.cards()),
        _sintel,
    ),
    Reader("davis annotation", "Annotations/480p/alley_1/00000.png", files.make_davis, _read_davis, _P),
    Reader(
        "colmap cameras.txt", "sparse/0/cameras.txt", partial(files.make_colmap, suffix="txt"), _read_colmap
    ),
    Reader(
        "colmap images.txt", "sparse/0/images.txt", partial(files.make_colmap, suffix="txt"), _read_colmap
    ),
    Reader(
        "colmap points3D.txt", "sparse/0/points3D.txt", partial(files.make_colmap, suffix="txt"), _read_colmap
    ),
    Reader(
        "colmap cameras.bin", "sparse/0/cameras.bin", partial(files.make_colmap, suffix="bin"), _read_colmap
    ),
    Reader(
        "colmap images.bin", "sparse/0/images.bin", partial(files.make_colmap, suffix="bin"), _read_colmap
    ),
    Reader(
        "colmap points3D.bin", "sparse/0/points3D.bin", partial(files.make_colmap, suffix="bin"), _read_colmap
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
    Reader("monst3r depth", "frame_0000.npy", lambda f: write_das3r(f, files.cards(), False), _footage, _A),
    Reader("monst3r confidence", "conf_0.npy", lambda f: write_das3r(f, files.cards(), False), _footage, _A),
    Reader("monst3r motion", "dyna_avg_0.npy", lambda f: write_das3r(f, files.cards(), False), _footage, _A),
    Reader(
        "video-data transforms.json",
        "transforms.json",
        lambda f: write_transforms(f, files.cards()),
        _transforms_cameras,
        _J,
    ),
    Reader(
        "video-data depth",
        "depth/0.png",
        lambda f: write_transforms(f, files.cards()),
        _transforms_cameras,
        _P,
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
    Reader("masks npy", "masks/0.npy", files.npy_file(files.GREY, "masks/0.npy"), _given, _A),
    Reader("masks png", "masks/0.png", files.png_file("masks/0.png", files.GREY), _given, _P),
    Reader(
        "boxes.json",
        "boxes.json",
        files.json_file("boxes.json", {"objects": [{"name": "dog", "frame": 0, "box": [1, 2, 30, 40]}]}),
        _boxes,
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
        partial(_depth_files, name="d.npy"),
        _A,
    ),
    Reader(
        "depth npz",
        "d.npz",
        lambda f: np.savez(f / "d.npz", depth=np.ones((2, 3, 4), np.float32)),
        partial(_depth_files, name="d.npz"),
        _Z,
    ),
    Reader(
        "depth png",
        "0.png",
        files.png_file("0.png", np.full((3, 4), 900, np.uint16)),
        partial(_depth_files, count=1),
        _P,
    ),
    Reader(
        "depth map npy",
        "0.npy",
        files.npy_file(np.ones((3, 4), np.float32), "0.npy"),
        partial(_depth_files, count=1),
        _A,
    ),
    Reader("image png", "0.png", files.make_picture("0.png"), partial(_image, name="0.png"), _P),
    Reader("image png palette", "0.png", files.make_picture("0.png", "P"), partial(_image, name="0.png"), _P),
    Reader("image jpg", "0.jpg", files.make_picture("0.jpg"), partial(_image, name="0.jpg")),
    Reader("image webp", "0.webp", files.make_picture("0.webp"), partial(_image, name="0.webp")),
    Reader("image bmp", "0.bmp", files.make_picture("0.bmp"), partial(_image, name="0.bmp")),
    Reader("image tif", "0.tif", files.make_picture("0.tif"), partial(_image, name="0.tif")),
    Reader("video", "v.mp4", files.make_video, _frames),
    Reader("video of a recording", "v.mp4", files.make_video, _recording_video),
    Reader("transforms.json", "transforms_train.json", files.make_scene, _read_scene, _J),
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
        _read_recording,
        _A,
    ),
    Reader("recording video", "r/cam00.mp4", partial(files.make_recording, videos=True), _read_recording),
    Reader("motion.json", "ground_truth/motion.json", files.make_motion, _read_motion, _J),
    Reader("ground truth depth", f"ground_truth/depth/{files.VIEW}.npz", files.make_motion, _read_motion, _Z),
    Reader(
        "ground truth object ids",
        f"ground_truth/object_id/{files.VIEW}.png",
        files.make_motion,
        _read_motion,
        _P,
    ),
    Reader(
        "segmentation transforms.json", "transforms.json", files.make_segmentation, _read_segmentation, _J
    ),
    Reader("segmentation labels", "0.npy", files.make_segmentation, _read_segmentation, _A),
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
    Reader("camera path", "path.json", files.make_camera_path, _path, _J),
    Reader(
        "config.yml",
        "config.yml",
        files.make_config,
        _call("engine.config_file", "load_config", "config.yml"),
    ),
    Reader("stream.json", "s/stream.json", files.make_gaussians, _stream, _J),
    Reader("stream of Gaussians, frame 0", "s/000000.init", files.make_gaussians, _stream, PART),
    Reader("stream of Gaussians, delta", "s/000001.delta", files.make_gaussians, _stream, PART),
    Reader("stream of Gaussians, key", "s/000002.key", files.make_gaussians, _stream, PART),
    Reader("voxels, stream.json", "s/stream.json", files.make_voxels, _stream, _J),
    Reader("stream of voxels, frame 0", "s/000000.init", files.make_voxels, _stream, PART),
    Reader("stream of voxels, delta", "s/000001.delta", files.make_voxels, _stream, PART),
    Reader("stage record", ".dyn3d/frames.json", files.make_records, _read_records, _J),
    Reader("manifest.json", "manifest.json", files.make_records, _read_records, _J),
    Reader("records of a stream", "frames.json", files.make_stream_run, _read_stream_run, _J),
    Reader("memory of a stream", "encoder/000001.npz", files.make_stream_run, _read_stream_run, _Z),
]
