"""Every reader of ours, each with one small whole file (or folder) that it reads and that can be damaged."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]  # the tests write these layouts too
if "tests" not in sys.modules:  # some package in site-packages has that name
    sys.modules["tests"] = types.ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]

import fuzz_damage as damage  # noqa: E402
from dynamic_scene_files import ToyScene  # noqa: E402
from footage_files import write_colmap, write_das3r, write_davis, write_sintel, write_transforms  # noqa: E402
from scene_files import camera_pose, write_scene  # noqa: E402
from sintel_files import write_cam, write_dpt  # noqa: E402

from dyn3d_ns.io.clip.folder import ClipFolder  # noqa: E402
from dyn3d_ns.io.errors import UserError  # noqa: E402

Make = Callable[[Path], object]
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader, and what it reads."""

    name: str
    file: str
    """File to damage."""
    make: Make
    """Writes the file, and those beside it, into a folder."""
    read: Read
    """Reads the folder, all of what the reader gives."""
    damages: dict[str, damage.Damage] = field(default_factory=lambda: damage.BYTES)


def _npy(array: np.ndarray, name: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, array)

    return make


def _png(name: str, array: np.ndarray) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / name)

    return make


def _json(name: str, content: Any) -> Make:
    return lambda folder: _text(folder / name, json.dumps(content))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@cache
def _clip() -> Any:
    from tests.video.cards import CardClip

    return CardClip(frames=3, width=24, height=18)


GREY = (np.arange(12 * 16).reshape(12, 16) % 250).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY], -1)
VIEW = "c00_f000"
"""Name of a training image of the small scene."""
POSES = np.stack([camera_pose(i) for i in range(3)])


# -- points and Gaussians ---------------------------------------------------------------------------


def _points(folder: Path) -> None:
    from dyn3d_ns.io.ply import write_points

    write_points(folder / "points.ply", np.arange(9, dtype=np.float32).reshape(3, 3), RGB[0, :3])


def _ascii_points(folder: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    _text(folder / "points.ply", f"{header}{colors}0 0.5 1 10 20 30\n-1 2e-3 4 0 255 7\n")


def _splats(folder: Path) -> None:
    from dyn3d_ns.io.das3r_ply import StaticSplats, write_das3r_ply

    ones = np.ones((2, 3), np.float32)
    quats, half = np.eye(4, dtype=np.float32)[:2], np.full(2, 0.5, np.float32)
    write_das3r_ply(
        folder / "s.ply", StaticSplats(ones, quats, ones, half, half, np.zeros((2, 4, 3), np.float32))
    )


def _ply(folder: Path) -> None:
    from dyn3d_ns.io.ply import read_points

    read_points(folder / "points.ply")


def _das3r_ply(folder: Path) -> None:
    from dyn3d_ns.io.das3r_ply import read_das3r_ply

    read_das3r_ply(folder / "s.ply")


# -- flow, depth and cameras of others ---------------------------------------------------------------


def _flo(folder: Path) -> None:
    from dyn3d_ns.io.flow_files import write_flo

    write_flo(folder / "f.flo", np.ones((2, 3, 2), np.float32))


def _flow_npz(folder: Path) -> None:
    from dyn3d_ns.io.flow_files import write_flow_npz

    write_flow_npz(folder / "f.npz", np.ones((4, 5, 2), np.float32), np.ones((4, 5), bool))


def _call(
    module: str, function: str, *names: str, after: Callable[[Any], object] | None = None, **options: Any
) -> Read:
    """Return a reader that calls a function with files of the folder."""

    def read(folder: Path) -> None:
        import importlib

        found = getattr(importlib.import_module(f"dyn3d_ns.{module}"), function)(
            *(folder / n for n in names), **options
        )
        if after is not None:
            after(found)

    return read


def _colmap(folder: Path, suffix: str) -> None:
    write_colmap(folder, _clip())
    if suffix == "bin":
        import pycolmap

        model = folder / "sparse/0"
        pycolmap.Reconstruction(str(model)).write_binary(str(model))
        for path in model.glob("*.txt"):
            path.unlink()


def _read_colmap(folder: Path) -> None:
    from dyn3d_ns.io.trajectories import read_cameras, read_colmap

    _each(partial(read_cameras, folder, "colmap"), partial(read_colmap, folder), partial(_footage, folder))


def _trajectory(folder: Path) -> None:
    rows = [f"{i} {i * 0.1} 0 1 0 0 0 1" for i in range(3)]
    _text(folder / "tum.txt", "# time x y z q\n" + "\n".join(rows) + "\n")
    _text(folder / "pred_traj.txt", "\n".join(rows) + "\n")
    _text(folder / "pred_intrinsics.txt", "100 0 8 0 100 6 0 0 1\n" * 3)


# -- footage and clips ------------------------------------------------------------------------------


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


def _davis(folder: Path) -> None:
    write_sintel(folder, _clip())
    write_davis(folder, _clip(), "alley_1")


def _read_davis(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import SintelTruth

    SintelTruth.open(folder, "alley_1").instances(0)


def _clip_folder(folder: Path) -> None:
    from dyn3d_ns.io.arrays import write_npz
    from dyn3d_ns.io.flow_files import write_flow_npz

    for i in range(3):
        _png(f"rgb/{i:05d}.png", RGB)(folder)
        _png(f"segmentation/label/{i:05d}.png", (GREY > 100).astype(np.uint8))(folder)
        _png(f"motion/dyna_avg/{i:05d}.png", GREY)(folder)
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 1)):
        write_flow_npz(folder / f"flow/{i:05d}_{j:05d}.npz", np.ones((12, 16, 2), np.float32), GREY > 9)
    K = np.array([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]])
    write_npz(
        folder / "cameras/poses.npz",
        poses=POSES,
        intrinsics=np.tile(K, (3, 1, 1)),
        registered=np.ones(3, bool),
    )
    ids = np.arange(3, dtype=np.int32)
    points = np.ones((3, 3), np.float32)
    write_npz(
        folder / "cameras/points.npz",
        xyz=points,
        rgb=RGB[0, :3],
        frame_ids=ids,
        point_ids=ids,
        xy=points[:, :2],
    )
    seen = np.ones((3, 4), bool)
    write_npz(
        folder / "cotrackerv3_10_50/results.npz",
        all_tracks=np.ones((3, 4, 2), np.float32),
        all_visibilities=seen,
        init_frames=np.zeros(4, np.int64),
        all_confidences=seen.astype(np.float32),
        orig_shape=np.array([12, 16]),
    )
    _npy(np.ones((3, 12, 16), np.float32), "unidepth/depth.npy")(folder)
    _json("unidepth/info.json", {"source": "given"})(folder)
    _json("flow/flow_info.json", {"method": "dis"})(folder)
    _json("segmentation/instance_labels.json", {"1": "dog"})(folder)
    _json("key_frames/keyframe_info.json", {"selected": [{"index": 0}, {"index": 2}]})(folder)
    times = {"times": [0.0, 0.1, 0.2], "source_frames": [0, 1, 2], "width": 16, "height": 12, "fps": 10.0}
    _json("clip.json", times)(folder)
    _fused(folder / "dynamicBA/x", frames=3)


def _fused(folder: Path, frames: int = 3) -> None:
    from dyn3d_ns.io.fused_4d import FusedScene, write_fused

    folder.mkdir(parents=True, exist_ok=True)
    scene = FusedScene(
        np.ones((5, 3)),
        RGB[0, :5],
        np.ones((4, 3)),
        RGB[0, :4],
        np.array([0, 1, 1, 4]),
        np.ones(4, np.int32),
        POSES,
        np.tile(np.eye(3), (frames, 1, 1)),
        np.ones((2, frames, 3), np.float32),
        np.ones((2, frames), bool),
        np.array([0, 1], np.int32),
        np.zeros((3, 3), np.uint8),
    )
    write_fused(folder / "fused_4d.npz", scene)


def _dynamicverse_fused(folder: Path) -> None:
    points, colors = np.empty(3, object), np.empty(3, object)
    for i, n in enumerate((2, 0, 3)):
        points[i], colors[i] = np.ones((n, 3)), np.full((n, 3), 9.0)
    np.savez(
        folder / "fused_4d.npz",
        static_points=np.ones((4, 3)),
        static_rgbs=np.ones((4, 3)),
        dyn_points=points,
        dyn_rgbs=colors,
        c2w=POSES,
        Ks=np.tile(np.eye(3), (3, 1, 1)),
    )


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

    files = DepthFiles(folder / name, count)
    for i in range(count):
        files[i]


# -- pictures and videos ----------------------------------------------------------------------------


def _video(folder: Path, name: str = "v.mp4") -> None:
    from dyn3d_ns.io.video_file import VideoWriter

    with VideoWriter(folder / name, 32, 24, fps=10, quality=0.5) as video:
        for i in range(4):
            video.write(np.full((24, 32, 3), 40 * i, np.uint8))


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


def _picture(name: str, mode: str = "RGB") -> Make:
    def make(folder: Path) -> None:
        Image.fromarray(RGB).convert(mode).save(folder / name)

    return make


# -- scenes -----------------------------------------------------------------------------------------


def _scene(folder: Path) -> None:
    write_scene(folder, cameras=2, frames=3, observed=2)


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


def _toy(folder: Path, dycheck: bool = False) -> None:
    scene = ToyScene(frames=3, width=24, height=14)
    if dycheck:
        scene.write_dycheck(folder / "s")
    else:
        scene.write(folder / "s")


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


def _recording(folder: Path, videos: bool) -> None:
    from recording_files import Rig, write_camera_folders, write_videos

    rig = Rig(names=("cam00", "cam01"), frames=2)
    (write_videos if videos else write_camera_folders)(folder / "r", rig)


def _read_recording(folder: Path) -> None:
    from dyn3d_ns.io.recordings.opening import open_recording

    _each(partial(open_recording, folder / "r"), partial(_describe, folder / "r"))


def _motion(folder: Path) -> None:
    write_scene(folder, cameras=2, frames=3, observed=2)
    one = np.tile(np.eye(4), (3, 1, 1)).tolist()
    thing = {"name": "ball", "pass_index": 1, "object_to_world": one, "twist": one}
    _json("ground_truth/motion.json", {"times": [0, 0.5, 1], "objects": [thing]})(folder)
    (folder / "ground_truth/depth").mkdir()
    np.savez_compressed(folder / f"ground_truth/depth/{VIEW}.npz", depth=np.ones((12, 16), np.float32))
    _png(f"ground_truth/object_id/{VIEW}.png", (GREY > 100).astype(np.uint8))(folder)


def _read_motion(folder: Path) -> None:
    from dyn3d_ns.io.ground_truth import load_motion_ground_truth, sample_surfaces

    sample_surfaces(load_motion_ground_truth(folder / "ground_truth/motion.json"))


def _segmentation(folder: Path) -> None:
    frames = [
        {"img_path": f"{i}.png", "segm_path": f"{i}", "time": i / 2, "transform_matrix": POSES[i].tolist()}
        for i in range(2)
    ]
    _json("transforms.json", {"frames": frames})(folder)
    for i in range(2):
        _npy(GREY.astype(np.int32), f"{i}.npy")(folder)
        _png(f"{i}.png", RGB)(folder)


def _read_segmentation(folder: Path) -> None:
    from dyn3d_ns.io.segmentation import read_segmentation

    for frame in read_segmentation(folder):
        frame.labels()


def _splits(folder: Path) -> None:
    evaluation = {"train": [[0, 0]], "interp": [[1, 0]], "unseen": []}
    _json("splits.json", {"scenes": {"a": {"train": [0, 1], "evaluation": evaluation}}})(folder)


# -- trainings and streams --------------------------------------------------------------------------


def _checkpoint(folder: Path) -> None:
    import torch

    content = {
        "step": 3,
        "pipeline": {"w": torch.ones(3, 2), "n": torch.zeros(2, dtype=torch.int64)},
        "s": [1, "a", None],
    }
    torch.save(content, folder / "step-000000003.ckpt")


def _weights(folder: Path) -> None:
    import torch

    torch.save({"conv1.weight": torch.ones(3, 2)}, folder / "w.pth")


def _path(folder: Path) -> None:
    from dyn3d_ns.engine.commands import check_camera_path

    check_camera_path(["ns-render", "camera-path", "--camera-path-filename", str(folder / "path.json")])


def _camera_path(folder: Path) -> None:
    frame = {"camera_to_world": np.eye(4).ravel().tolist(), "render_time": 0.5, "fov": 50, "aspect": 1.3}
    content = {
        "camera_type": "perspective",
        "render_width": 16,
        "render_height": 12,
        "fps": 10,
        "seconds": 0.2,
        "keyframes": [],
        "camera_path": [frame, frame],
    }
    _json("path.json", content)(folder)


def _config(folder: Path) -> None:
    import yaml
    from nerfstudio.configs.method_configs import all_methods

    (folder / "config.yml").write_text(yaml.dump(all_methods["dyn3d-velocity-fast"]))


def _gaussians(folder: Path) -> None:
    from gaussian_stream import BallStream

    BallStream(folder / "s", planned=4, every=2).grow(4)


def _voxels(folder: Path) -> None:
    from dyn3d_ns.fields.voxel_stream import VoxelDecoder, VoxelLattice, VoxelState
    from dyn3d_ns.io.stream.header import StreamHeader
    from dyn3d_ns.io.stream.writer import StreamWriter

    lattice, rng = VoxelLattice((4, 4, 4)), np.random.default_rng(0)
    decoder = VoxelDecoder(lattice)
    states = [
        VoxelState(np.sort(rng.choice(64, 9, replace=False)), rng.integers(-9, 9, (9, 28)).astype(np.int32))
        for _ in range(3)
    ]
    writer = StreamWriter.create(
        folder / "s", StreamHeader("voxels", 10.0, (0.0, 0.5, 1.0), lattice.to_header())
    )
    writer.write_init(decoder.to_init(states[0]))
    for i in (1, 2):
        key = decoder.to_key(states[0], states[2]) if i == 2 else None
        writer.write_frame(i, decoder.difference(states[i - 1], states[i]), key)


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


def _records(folder: Path) -> None:
    record = {"fingerprint": "a", "files": {"x": [1, 2, "b"]}, "seconds": 1.0}
    _json(".dyn3d/frames.json", record)(folder)
    _json("manifest.json", {"stages": {"frames": {}}})(folder)


def _read_records(folder: Path) -> None:
    from dyn3d_ns.io.clip.workspace import Workspace
    from dyn3d_ns.video.records import Records

    records = Records(Workspace(folder))
    records.read("frames")
    records.manifest_stages()


def _stream_run(folder: Path) -> None:
    from dataclasses import fields

    from gaussian_stream import BallStream

    from dyn3d_ns.engine.stream_run import FrameRecord

    BallStream(folder / "stream", planned=2, every=0).grow(2)
    record = {f.name: {} if f.name == "figures" else 1 for f in fields(FrameRecord)}
    _json("frames.json", [record, record])(folder)
    (folder / "encoder").mkdir()
    np.savez_compressed(folder / "encoder/000001.npz", step=np.array(3), means=np.ones((2, 3)))


def _read_stream_run(folder: Path) -> None:
    from dyn3d_ns.engine.stream_run import StreamRun

    run = StreamRun(folder)
    run.figures()
    run.last()


_J, _A, _Z, _P = damage.JSON, damage.NPY, damage.NPZ, damage.PNG


def _clip_reader(file: str, damages: dict[str, damage.Damage]) -> Reader:
    return Reader(f"clip {file}", file, _clip_folder, _read_clip, damages)


def _toy_reader(file: str, damages: dict[str, damage.Damage], dycheck: bool = False) -> Reader:
    kind = "dycheck" if dycheck else "dynamic-scene"
    return Reader(f"{kind} {file}", f"s/{file}", partial(_toy, dycheck=dycheck), _read_toy, damages)


READERS: list[Reader] = [
    Reader("ply points", "points.ply", _points, _ply),
    Reader("ply ascii", "points.ply", _ascii_points, _ply),
    Reader("ply das3r", "s.ply", _splats, _das3r_ply),
    Reader("flo", "f.flo", _flo, _call("io.flow_files", "read_flo", "f.flo")),
    Reader("flow npz", "f.npz", _flow_npz, _call("io.flow_files", "read_flow_npz", "f.npz"), _Z),
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
        lambda f: write_sintel(f, _clip()),
        _sintel,
    ),
    Reader(
        "sintel depth", "training/depth/alley_1/frame_0001.dpt", lambda f: write_sintel(f, _clip()), _sintel
    ),
    Reader("davis annotation", "Annotations/480p/alley_1/00000.png", _davis, _read_davis, _P),
    Reader("colmap cameras.txt", "sparse/0/cameras.txt", partial(_colmap, suffix="txt"), _read_colmap),
    Reader("colmap images.txt", "sparse/0/images.txt", partial(_colmap, suffix="txt"), _read_colmap),
    Reader("colmap points3D.txt", "sparse/0/points3D.txt", partial(_colmap, suffix="txt"), _read_colmap),
    Reader("colmap cameras.bin", "sparse/0/cameras.bin", partial(_colmap, suffix="bin"), _read_colmap),
    Reader("colmap images.bin", "sparse/0/images.bin", partial(_colmap, suffix="bin"), _read_colmap),
    Reader("colmap points3D.bin", "sparse/0/points3D.bin", partial(_colmap, suffix="bin"), _read_colmap),
    Reader("tum", "tum.txt", _trajectory, _call("io.trajectories", "read_cameras", "tum.txt")),
    Reader(
        "monst3r trajectory",
        "pred_traj.txt",
        _trajectory,
        _call("io.trajectories", "read_cameras", "pred_traj.txt"),
    ),
    Reader(
        "monst3r intrinsics",
        "pred_intrinsics.txt",
        _trajectory,
        _call("io.trajectories", "read_cameras", "pred_traj.txt"),
    ),
    Reader("monst3r depth", "frame_0000.npy", lambda f: write_das3r(f, _clip(), False), _footage, _A),
    Reader("monst3r confidence", "conf_0.npy", lambda f: write_das3r(f, _clip(), False), _footage, _A),
    Reader("monst3r motion", "dyna_avg_0.npy", lambda f: write_das3r(f, _clip(), False), _footage, _A),
    Reader(
        "video-data transforms.json",
        "transforms.json",
        lambda f: write_transforms(f, _clip()),
        _transforms_cameras,
        _J,
    ),
    Reader(
        "video-data depth", "depth/0.png", lambda f: write_transforms(f, _clip()), _transforms_cameras, _P
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
    Reader("fused_4d", "fused_4d.npz", _fused, _call("io.fused_4d", "read_fused", "fused_4d.npz"), _Z),
    Reader(
        "fused_4d of DynamicVerse",
        "fused_4d.npz",
        _dynamicverse_fused,
        _call("io.fused_4d", "read_fused", "fused_4d.npz"),
        _Z,
    ),
    Reader("masks npy", "masks/0.npy", _npy(GREY, "masks/0.npy"), _given, _A),
    Reader("masks png", "masks/0.png", _png("masks/0.png", GREY), _given, _P),
    Reader(
        "boxes.json",
        "boxes.json",
        _json("boxes.json", {"objects": [{"name": "dog", "frame": 0, "box": [1, 2, 30, 40]}]}),
        _boxes,
        _J,
    ),
    Reader(
        "names.json",
        "n.json",
        _json("n.json", {"dynamic": ["dog"], "reasoning": {"dog": "runs"}}),
        _call("video.masks.prompts", "read_names", "n.json"),
        _J,
    ),
    Reader(
        "depth stack",
        "d.npy",
        _npy(np.ones((2, 3, 4), np.float32), "d.npy"),
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
        _png("0.png", np.full((3, 4), 900, np.uint16)),
        partial(_depth_files, count=1),
        _P,
    ),
    Reader(
        "depth map npy",
        "0.npy",
        _npy(np.ones((3, 4), np.float32), "0.npy"),
        partial(_depth_files, count=1),
        _A,
    ),
    Reader("image png", "0.png", _picture("0.png"), partial(_image, name="0.png"), _P),
    Reader("image png palette", "0.png", _picture("0.png", "P"), partial(_image, name="0.png"), _P),
    Reader("image jpg", "0.jpg", _picture("0.jpg"), partial(_image, name="0.jpg")),
    Reader("image webp", "0.webp", _picture("0.webp"), partial(_image, name="0.webp")),
    Reader("image bmp", "0.bmp", _picture("0.bmp"), partial(_image, name="0.bmp")),
    Reader("image tif", "0.tif", _picture("0.tif"), partial(_image, name="0.tif")),
    Reader("video", "v.mp4", _video, _frames),
    Reader("video of a recording", "v.mp4", _video, _recording_video),
    Reader("transforms.json", "transforms_train.json", _scene, _read_scene, _J),
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
        partial(_recording, videos=False),
        _read_recording,
        _A,
    ),
    Reader("recording video", "r/cam00.mp4", partial(_recording, videos=True), _read_recording),
    Reader("motion.json", "ground_truth/motion.json", _motion, _read_motion, _J),
    Reader("ground truth depth", f"ground_truth/depth/{VIEW}.npz", _motion, _read_motion, _Z),
    Reader("ground truth object ids", f"ground_truth/object_id/{VIEW}.png", _motion, _read_motion, _P),
    Reader("segmentation transforms.json", "transforms.json", _segmentation, _read_segmentation, _J),
    Reader("segmentation labels", "0.npy", _segmentation, _read_segmentation, _A),
    Reader(
        "splits",
        "splits.json",
        _splits,
        _call("io.dynamic_scene.splits", "read_splits", "splits.json", names=["a"]),
        _J,
    ),
    Reader(
        "checkpoint",
        "step-000000003.ckpt",
        _checkpoint,
        _call("engine.checkpoint", "load_checkpoint", "step-000000003.ckpt"),
        _Z,
    ),
    Reader(
        "weights",
        "w.pth",
        _weights,
        _call("models.mononerf.weights", "read_weights", "w.pth", what="an encoder"),
        _Z,
    ),
    Reader("camera path", "path.json", _camera_path, _path, _J),
    Reader("config.yml", "config.yml", _config, _call("engine.config_file", "load_config", "config.yml")),
    Reader("stream.json", "s/stream.json", _gaussians, _stream, _J),
    Reader("stream of Gaussians, frame 0", "s/000000.init", _gaussians, _stream, PART),
    Reader("stream of Gaussians, delta", "s/000001.delta", _gaussians, _stream, PART),
    Reader("stream of Gaussians, key", "s/000002.key", _gaussians, _stream, PART),
    Reader("voxels, stream.json", "s/stream.json", _voxels, _stream, _J),
    Reader("stream of voxels, frame 0", "s/000000.init", _voxels, _stream, PART),
    Reader("stream of voxels, delta", "s/000001.delta", _voxels, _stream, PART),
    Reader("stage record", ".dyn3d/frames.json", _records, _read_records, _J),
    Reader("manifest.json", "manifest.json", _records, _read_records, _J),
    Reader("records of a stream", "frames.json", _stream_run, _read_stream_run, _J),
    Reader("memory of a stream", "encoder/000001.npz", _stream_run, _read_stream_run, _Z),
]
