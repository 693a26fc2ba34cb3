"""Writes one video in the layouts that other people publish, and checks what is read of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.flow_files import write_flo
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.ply import write_points
from tests.sintel_files import write_cam, write_dpt
from tests.video.cards import CardClip

WORLD = np.eye(4)
"""World of the files, turned about no axis of the camera, so that swapped quaternions are noticed."""
WORLD[:3, :3] = Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix()
WORLD[:3, 3] = [1.0, -2.0, 3.0]
POINTS = np.array([[0.3, 0.2, 6.0], [-0.9, 0.5, 3.0], [0.2, -0.4, 4.0]])
"""Points before the cards' cameras, in the cards' own world."""
PALETTE = [0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200]


def posed(truth: CardClip) -> np.ndarray:
    """Return the cameras' poses in the files' world."""
    return WORLD @ truth.poses


def world_points() -> np.ndarray:
    """Return the points in the files' world."""
    return POINTS @ WORLD[:3, :3].T + WORLD[:3, 3]


def true_pixels(truth: CardClip, frame: int) -> np.ndarray:
    """Return where the points lie in a frame; whole numbers are pixel centres."""
    seen = (POINTS - truth.poses[frame, :3, 3]) @ truth.K.T
    return seen[:, :2] / seen[:, 2:]


def check_cameras(footage: Footage, truth: CardClip, frames: list[int] | None = None) -> None:
    """Check that the cameras of footage see the points where the cards' do."""
    cameras = footage.cameras()
    for k, frame in enumerate(frames or range(truth.num_frames)):
        view = np.linalg.inv(cameras.camera_to_worlds[k])
        seen = (world_points() @ view[:3, :3].T + view[:3, 3]) @ cameras.Ks[k].T
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], true_pixels(truth, frame), atol=1e-3)


def check_outputs(outputs, truth: CardClip, frame_of_image: list[int]) -> None:
    """Check the same of a dataparser's cameras, whose pixel centres are at one half."""
    transform = outputs.dataparser_transform.numpy().astype(np.float64)
    moved = (world_points() @ transform[:, :3].T + transform[:, 3]) * outputs.dataparser_scale
    for i, frame in enumerate(frame_of_image):
        camera = outputs.cameras[i]
        pose = camera.camera_to_worlds.numpy().astype(np.float64)
        seen = (moved - pose[:, 3]) @ pose[:, :3] * [1, -1, -1]
        focal = np.array([camera.fx.item(), camera.fy.item()])
        found = seen[:, :2] / seen[:, 2:] * focal + [camera.cx.item(), camera.cy.item()]
        scale = [camera.width.item() / truth.width, camera.height.item() / truth.height]
        np.testing.assert_allclose(found, (true_pixels(truth, frame) + 0.5) * scale, atol=2e-3)


def moving(truth: CardClip, i: int) -> np.ndarray:
    """Return where a frame moves."""
    return truth.labels[i] > 0


def save(image: np.ndarray, path: Path) -> None:
    """Write an image and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_davis(root: Path, truth: CardClip, name: str = "dog", annotated: range | None = None) -> Path:
    """Write a sequence of DAVIS; object ids 1 and 3 in a palette image."""
    for i in range(truth.num_frames):
        save(truth.images[i], root / f"JPEGImages/480p/{name}/{i:05d}.jpg")
        if annotated is not None and i not in annotated:
            continue
        ids = np.where(moving(truth, i), np.where(np.arange(truth.width) % 2, 1, 3), 0).astype(np.uint8)
        picture = Image.fromarray(ids, "P")
        picture.putpalette(PALETTE)
        path = root / f"Annotations/480p/{name}/{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def write_sintel(root: Path, truth: CardClip, name: str = "alley_1") -> Path:
    """Write a sequence of Sintel; as there, the last frame has no flow and no label."""
    base, last = root / "training", truth.num_frames - 1
    views = np.linalg.inv(posed(truth))
    for i in range(truth.num_frames):
        frame = f"{name}/frame_{i + 1:04d}"
        save(truth.images[i], base / f"final/{frame}.png")
        write_cam(base / f"camdata_left/{frame}.cam", truth.K, views[i, :3])
        write_dpt(base / f"depth/{frame}.dpt", truth.depths[i])
        invalid = np.zeros((truth.height, truth.width), np.uint8)
        invalid[0] = 255
        save(invalid, base / f"invalid/{frame}.png")
        if i < last:
            flow = truth.flow(i, i + 1)
            (base / f"flow/{name}").mkdir(parents=True, exist_ok=True)
            write_flo(base / f"flow/{frame}.flo", flow.flow)
            save((~flow.valid * 255).astype(np.uint8), base / f"occlusions/{frame}.png")
            save((moving(truth, i) * 255).astype(np.uint8), base / f"dynamic_label_perfect/{frame}.png")
    return root


def write_das3r(root: Path, truth: CardClip, rearranged: bool) -> Path:
    """Write what DAS3R's predictor leaves, or what it is rearranged into; frames are numbered from 0."""
    folders = ("images/", "depth_maps/", "confidence_maps/", "dyna_avg/", "dynamic_masks/")
    images, depths, confidences, averages, masks = folders if rearranged else ("",) * 5
    digits = 4 if rearranged else 1
    for folder in folders if rearranged else ("",):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for i, pose in enumerate(posed(truth)):
        save(truth.images[i], root / f"{images}frame_{i:04d}.png")
        np.save(root / f"{depths}frame_{i:04d}.npy", truth.depths[i])
        confidence = np.ones(truth.depths[i].shape, np.float32)
        confidence[0], confidence[1] = -np.inf, 0
        np.save(root / f"{confidences}conf_{i:0{digits}d}.npy", confidence)
        probability = np.where(moving(truth, i), 0.75, 0.125).astype(np.float32)
        np.save(root / f"{averages}dyna_avg_{i:0{digits}d}.npy", probability)
        save((moving(truth, i) * 255).astype(np.uint8), root / f"{masks}dynamic_mask_{i:0{digits}d}.png")
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        rows.append((i, *pose[:3, 3], w, x, y, z))
    np.savetxt(root / "pred_traj.txt", np.array(rows), fmt="%.9f")
    np.savetxt(root / "pred_intrinsics.txt", np.tile(truth.K.ravel(), (truth.num_frames, 1)), fmt="%.9f")
    return root


def write_colmap(root: Path, truth: CardClip, lens: str = "PINHOLE", masks: bool = True) -> Path:
    """Write a text model with a camera an image, images 1 … 12 without leading zeros, and masks."""
    model = root / "sparse/0"
    model.mkdir(parents=True)
    fx, fy, cx, cy = truth.K[0, 0], truth.K[1, 1], truth.K[0, 2] + 0.5, truth.K[1, 2] + 0.5
    numbers = {"PINHOLE": (fx, fy, cx, cy), "OPENCV": (fx, fy, cx, cy, 0.1, 0, 0, 0)}[lens]
    cameras, images = [], []
    for i, view in enumerate(np.linalg.inv(posed(truth))):
        save(truth.images[i], root / f"images/f{i + 1}.jpg")
        if masks:
            save((~moving(truth, i) * 255).astype(np.uint8), root / f"masks/f{i + 1}.jpg.png")
        x, y, z, w = Rotation.from_matrix(view[:3, :3]).as_quat()
        size = f"{truth.width} {truth.height}"
        cameras.append(f"{i + 1} {lens} {size} {' '.join(map(repr, map(float, numbers)))}")
        row = (w, x, y, z, *view[:3, 3])
        images.append(f"{i + 1} {' '.join(repr(float(v)) for v in row)} {i + 1} f{i + 1}.jpg\n")
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(images) + "\n")
    points = [f"{k + 1} {p[0]} {p[1]} {p[2]} 10 20 30 0.1" for k, p in enumerate(world_points())]
    (model / "points3D.txt").write_text("\n".join(points) + "\n")
    return root


def write_transforms(root: Path, truth: CardClip, **changes) -> Path:
    """Write a transforms.json with everything that may stand beside the images, frames in disorder."""
    frames = []
    for i, pose in enumerate(posed(truth)):
        save(truth.images[i], root / f"images/{i}.png")
        save((~moving(truth, i) * 255).astype(np.uint8), root / f"masks/{i}.png")
        depth = root / f"depth/{i}.png"
        save(np.rint(truth.depths[i] * 1000).astype(np.uint16), depth)
        np.save(root / f"depth/{i}.npy", np.where(moving(truth, i), 0.9, 0.2).astype(np.float32))
        frames.append(
            {
                "file_path": f"images/{i}.png",
                "mask_path": f"masks/{i}.png",
                "depth_file_path": f"depth/{i}.png",
                "dynamic_prob_path": f"depth/{i}.npy",
                "transform_matrix": (pose * np.array([1.0, -1.0, -1.0, 1.0])).tolist(),
                "fl_x": truth.K[0, 0],
                "fl_y": truth.K[1, 1],
            }
        )
    write_points(root / "cloud.ply", world_points().astype(np.float32), np.full((3, 3), 90, np.uint8))
    content = {
        "w": truth.width,
        "h": truth.height,
        "cx": truth.K[0, 2] + 0.5,
        "cy": truth.K[1, 2] + 0.5,
        "ply_file_path": "cloud.ply",
        "applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
        "frames": frames[::-1],
        **changes,
    }
    (root / "transforms.json").write_text(json.dumps(content))
    return root
