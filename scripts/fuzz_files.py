"""One small whole file, or folder, for every reader, which `scripts/fuzz.py` damages."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]  # the tests write these layouts too
if "tests" not in sys.modules:  # some package in site-packages has that name
    sys.modules["tests"] = types.ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from dynamic_scene_files import ToyScene  # noqa: E402
from footage_files import write_colmap, write_davis, write_sintel  # noqa: E402
from scene_files import camera_pose, write_scene  # noqa: E402

Make = Callable[[Path], object]
"""Writes a file, and those beside it, into a folder."""
GREY = (np.arange(12 * 16).reshape(12, 16) % 250).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY], -1)
VIEW = "c00_f000"
"""Name of a training image of the small scene."""
POSES = np.stack([camera_pose(i) for i in range(3)])


def npy_file(array: np.ndarray, name: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, array)

    return make


def png_file(name: str, array: np.ndarray) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / name)

    return make


def json_file(name: str, content: Any) -> Make:
    return lambda folder: text_file(folder / name, json.dumps(content))


def text_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@cache
def cards() -> Any:
    from tests.video.cards import CardClip

    return CardClip(frames=3, width=24, height=18)


def make_points(folder: Path) -> None:
    from dyn3d_ns.io.ply import write_points

    write_points(folder / "points.ply", np.arange(9, dtype=np.float32).reshape(3, 3), RGB[0, :3])


def make_ascii_points(folder: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    text_file(folder / "points.ply", f"{header}{colors}0 0.5 1 10 20 30\n-1 2e-3 4 0 255 7\n")


def make_splats(folder: Path) -> None:
    from dyn3d_ns.io.das3r_ply import StaticSplats, write_das3r_ply

    ones = np.ones((2, 3), np.float32)
    quats, half = np.eye(4, dtype=np.float32)[:2], np.full(2, 0.5, np.float32)
    write_das3r_ply(
        folder / "s.ply", StaticSplats(ones, quats, ones, half, half, np.zeros((2, 4, 3), np.float32))
    )


def make_flo(folder: Path) -> None:
    from dyn3d_ns.io.flow_files import write_flo

    write_flo(folder / "f.flo", np.ones((2, 3, 2), np.float32))


def make_flow_npz(folder: Path) -> None:
    from dyn3d_ns.io.flow_files import write_flow_npz

    write_flow_npz(folder / "f.npz", np.ones((4, 5, 2), np.float32), np.ones((4, 5), bool))


def make_colmap(folder: Path, suffix: str) -> None:
    write_colmap(folder, cards())
    if suffix == "bin":
        import pycolmap

        model = folder / "sparse/0"
        pycolmap.Reconstruction(str(model)).write_binary(str(model))
        for path in model.glob("*.txt"):
            path.unlink()


def make_trajectory(folder: Path) -> None:
    rows = [f"{i} {i * 0.1} 0 1 0 0 0 1" for i in range(3)]
    text_file(folder / "tum.txt", "# time x y z q\n" + "\n".join(rows) + "\n")
    text_file(folder / "pred_traj.txt", "\n".join(rows) + "\n")
    text_file(folder / "pred_intrinsics.txt", "100 0 8 0 100 6 0 0 1\n" * 3)


def make_camera_arrays(folder: Path) -> None:
    names = np.array([f"{i}.png" for i in range(3)])
    np.savez(folder / "c.npz", poses=POSES, intrinsics=np.tile(np.eye(3), (3, 1, 1)), names=names)


def make_davis(folder: Path) -> None:
    write_sintel(folder, cards())
    write_davis(folder, cards(), "alley_1")


def make_clip_folder(folder: Path) -> None:
    from dyn3d_ns.io.arrays import write_npz
    from dyn3d_ns.io.flow_files import write_flow_npz

    for i in range(3):
        png_file(f"rgb/{i:05d}.png", RGB)(folder)
        png_file(f"segmentation/label/{i:05d}.png", (GREY > 100).astype(np.uint8))(folder)
        png_file(f"motion/dyna_avg/{i:05d}.png", GREY)(folder)
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
    npy_file(np.ones((3, 12, 16), np.float32), "unidepth/depth.npy")(folder)
    json_file("unidepth/info.json", {"source": "given"})(folder)
    json_file("flow/flow_info.json", {"method": "dis"})(folder)
    json_file("segmentation/instance_labels.json", {"1": "dog"})(folder)
    json_file("key_frames/keyframe_info.json", {"selected": [{"index": 0}, {"index": 2}]})(folder)
    times = {"times": [0.0, 0.1, 0.2], "source_frames": [0, 1, 2], "width": 16, "height": 12, "fps": 10.0}
    json_file("clip.json", times)(folder)
    make_fused(folder / "dynamicBA/x", frames=3)


def make_fused(folder: Path, frames: int = 3) -> None:
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


def make_dynamicverse_fused(folder: Path) -> None:
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


def make_video(folder: Path, name: str = "v.mp4") -> None:
    from dyn3d_ns.io.video_file import VideoWriter

    with VideoWriter(folder / name, 32, 24, fps=10, quality=0.5) as video:
        for i in range(4):
            video.write(np.full((24, 32, 3), 40 * i, np.uint8))


def make_picture(name: str, mode: str = "RGB") -> Make:
    def make(folder: Path) -> None:
        Image.fromarray(RGB).convert(mode).save(folder / name)

    return make


def make_scene(folder: Path) -> None:
    write_scene(folder, cameras=2, frames=3, observed=2)


def make_toy(folder: Path, dycheck: bool = False) -> None:
    scene = ToyScene(frames=3, width=24, height=14)
    if dycheck:
        scene.write_dycheck(folder / "s")
    else:
        scene.write(folder / "s")


def make_recording(folder: Path, videos: bool) -> None:
    from recording_files import Rig, write_camera_folders, write_videos

    rig = Rig(names=("cam00", "cam01"), frames=2)
    (write_videos if videos else write_camera_folders)(folder / "r", rig)


def make_motion(folder: Path) -> None:
    write_scene(folder, cameras=2, frames=3, observed=2)
    one = np.tile(np.eye(4), (3, 1, 1)).tolist()
    thing = {"name": "ball", "pass_index": 1, "object_to_world": one, "twist": one}
    content = {"times": [0, 0.5, 1], "objects": [thing], "deforming": {"ball": ""}}
    json_file("ground_truth/motion.json", content)(folder)
    ground = np.array([[900, 0, 0], [-900, 900, 0], [-900, -900, 0]], np.float32)  # all pixels are near it
    corners = np.tile(ground, (3, 1, 1))
    np.savez_compressed(
        folder / "ground_truth/ball_vertices.npz",
        vertices=corners,
        velocity=corners,
        faces=np.array([[0, 1, 2]]),
        times=np.array([0, 0.5, 1]),
    )
    (folder / "ground_truth/depth").mkdir()
    np.savez_compressed(folder / f"ground_truth/depth/{VIEW}.npz", depth=np.ones((12, 16), np.float32))
    png_file(f"ground_truth/object_id/{VIEW}.png", (GREY > 100).astype(np.uint8))(folder)


def make_segmentation(folder: Path) -> None:
    frames = [
        {"img_path": f"{i}.png", "segm_path": f"{i}", "time": i / 2, "transform_matrix": POSES[i].tolist()}
        for i in range(2)
    ]
    json_file("transforms.json", {"frames": frames})(folder)
    for i in range(2):
        npy_file(GREY.astype(np.int32), f"{i}.npy")(folder)
        png_file(f"{i}.png", RGB)(folder)


def make_splits(folder: Path) -> None:
    evaluation = {"train": [[0, 0]], "interp": [[1, 0]], "unseen": []}
    json_file("splits.json", {"scenes": {"a": {"train": [0, 1], "evaluation": evaluation}}})(folder)


def make_checkpoint(folder: Path) -> None:
    import torch

    content = {
        "step": 3,
        "pipeline": {"w": torch.ones(3, 2), "n": torch.zeros(2, dtype=torch.int64)},
        "s": [1, "a", None],
    }
    torch.save(content, folder / "step-000000003.ckpt")


def make_weights(folder: Path) -> None:
    import torch

    torch.save({"conv1.weight": torch.ones(3, 2)}, folder / "w.pth")


def make_camera_path(folder: Path) -> None:
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
    json_file("path.json", content)(folder)


def make_config(folder: Path) -> None:
    import yaml
    from nerfstudio.configs.method_configs import all_methods

    (folder / "config.yml").write_text(yaml.dump(all_methods["dyn3d-velocity-fast"]))


def make_gaussians(folder: Path) -> None:
    from gaussian_stream import BallStream

    BallStream(folder / "s", planned=4, every=2).grow(4)


def make_voxels(folder: Path) -> None:
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


def make_records(folder: Path) -> None:
    record = {"fingerprint": "a", "files": {"x": [1, 2, "b"]}, "seconds": 1.0}
    json_file(".dyn3d/frames.json", record)(folder)
    json_file("manifest.json", {"stages": {"frames": {}}})(folder)


def make_stream_run(folder: Path) -> None:
    from dataclasses import fields

    from gaussian_stream import BallStream

    from dyn3d_ns.engine.stream_run import FrameRecord

    BallStream(folder / "stream", planned=2, every=0).grow(2)
    record = {f.name: {} if f.name == "figures" else 1 for f in fields(FrameRecord)}
    json_file("frames.json", [record, record])(folder)
    (folder / "encoder").mkdir()
    np.savez_compressed(folder / "encoder/000001.npz", step=np.array(3), means=np.ones((2, 3)))
