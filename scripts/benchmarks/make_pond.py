"""Make a scene that nobody tuned on: a swimming fish and a flapping bird, with their true motion.

It has the layout of NVFi's Dynamic Object: 15 cameras and 60 frames, of which three cameras are held out, and
as the future the last quarter of the time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float64, Int64, UInt8
from numba import njit
from numpy.typing import NDArray
from PIL import Image
from pond_bodies import Body, pond

from dyn3d_ns.geometry.cameras import flip_axes, project, scale_intrinsics, to_camera
from dyn3d_ns.io.intrinsics import matrix_of

ANGLE_X = 0.74
FINE = 3
"""Samples along each side of a pixel; the middle one is at its centre."""
LIGHTS = (((0.45, -0.35, 0.82), 0.6), ((-0.75, 0.55, 0.2), 0.25))
"""Direction towards each light, and its strength."""
AMBIENT = 0.4
CONVENTION = (
    "object_to_world: world point = M @ [rest point, 1]; twist V: world velocity per unit time at "
    "world point x = (V @ [x, 1])[:3]; z up"
)


@dataclass
class Args:
    """What to draw, and where to."""

    output: tyro.conf.Positional[Path]
    """folder to write, new or empty"""
    seed: int = 0
    """draws ways, phases, shapes, paint and cameras"""
    beats: tuple[float, float] = (1.4, 1.6)
    """waves through the fish and strokes of the wings in the whole recording"""
    cameras: int = 15
    """cameras on a sphere about the scene"""
    frames: int = 60
    """frames of each"""
    held_out: tuple[int, ...] = (1, 5, 10)
    """cameras for evaluation"""
    observed: float = 0.75
    """last time that is not the future"""
    size: int = 200
    """pixels along each side of a picture"""
    every: int = 5
    """a frame in so many of a held-out camera gets depth and object ids"""


@dataclass(frozen=True)
class Picture:
    """A view: colours with straight alpha, and depth (0 is nothing) and object ids at pixel centres."""

    rgba: UInt8[np.ndarray, "H W 4"]
    depth: Float64[np.ndarray, "H W"]
    labels: UInt8[np.ndarray, "H W"]


def poses(count: int, seed: int) -> list[Float64[np.ndarray, "4 4"]]:
    """Return OpenGL camera-to-world poses around the origin, at changing heights, looking at it."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for i in range(count):
        azimuth = 2 * math.pi * (i + rng.uniform(-0.2, 0.2)) / count
        height = math.radians(8 + 48 * ((i * 0.6180339887 + rng.uniform(-0.05, 0.05)) % 1))
        back = np.array([math.cos(azimuth), math.sin(azimuth), math.tan(height)])
        back /= np.linalg.norm(back)
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack((right, np.cross(back, right), back, rng.uniform(4.1, 4.3) * back), 1)
        found.append(pose)
    return found


def draw(
    bodies: Sequence[Body], places: Sequence[NDArray], camera_to_world: Float64[np.ndarray, "4 4"], size: int
) -> Picture:
    """Draw bodies at their places by a depth buffer of 3 x 3 samples a pixel, each shaded by itself."""
    focal = 0.5 * size / math.tan(0.5 * ANGLE_X)
    K = scale_intrinsics(matrix_of(focal, focal, 0.5 * size, 0.5 * size), FINE, FINE)
    starts = np.cumsum([0, *(len(p) for p in places)])
    faces = np.concatenate([b.faces + start for b, start in zip(bodies, starts[:-1], strict=True)])
    owners = np.repeat(np.arange(len(bodies)), [len(b.faces) for b in bodies])
    local = to_camera(np.concatenate(places), np.linalg.inv(flip_axes(camera_to_world)))
    fine = FINE * size
    inverse, found, weights = _depth_buffer(project(local, K), local[:, 2], faces, fine)
    rows, columns = np.nonzero(found >= 0)
    hit, shares = found[rows, columns], weights[rows, columns]
    normals = np.concatenate([vertex_normals(p, b.faces) for b, p in zip(bodies, places, strict=True)])
    colors = np.zeros((fine, fine, 4))
    colors[rows, columns, :3] = _shade(bodies, owners[hit], faces[hit], shares, normals)
    colors[rows, columns, 3] = 1
    mean = colors.reshape(size, FINE, size, FINE, 4).mean((1, 3))
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-9)
    middle = slice(FINE // 2, None, FINE)
    depth, found = inverse[middle, middle], found[middle, middle]
    return Picture(
        np.round(255 * mean).astype(np.uint8),
        np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0),
        np.where(found >= 0, owners[found] + 1, 0).astype(np.uint8),
    )


def _shade(
    bodies: Sequence[Body],
    owners: NDArray,
    faces: NDArray,
    shares: NDArray,
    normals: NDArray,
) -> Float64[np.ndarray, "P 3"]:
    """Return the colours of surface points, given their triangles and their places in them."""
    rest = np.concatenate([b.rest.numpy() for b in bodies])
    points = np.einsum("pk,pkc->pc", shares, rest[faces])
    paint = np.empty_like(points)
    for i, body in enumerate(bodies):
        paint[owners == i] = body.paint(points[owners == i])
    normal = np.einsum("pk,pkc->pc", shares, normals[faces])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    light = np.full(len(points), AMBIENT)
    for direction, strength in LIGHTS:
        light += strength * np.maximum(normal @ (np.array(direction) / np.linalg.norm(direction)), 0)
    return np.clip(paint * light[:, None], 0, 1)


def vertex_normals(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "V 3"]:
    """Return outward normals: the sum of the triangles' about each vertex, by their area."""
    a, b, c = vertices[faces].swapaxes(0, 1)
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces, np.cross(b - a, c - a)[:, None])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@njit
def _depth_buffer(xy: NDArray, z: NDArray, faces: NDArray, size: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return at each sample the inverse depth, the triangle (-1 is none) and its perspective weights."""
    inverse = np.zeros((size, size))
    found = np.full((size, size), -1, np.int64)
    weights = np.zeros((size, size, 3))
    for f in range(len(faces)):
        a, b, c = faces[f]
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        left, right = max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, size)
        top, bottom = max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, size)
        for row in range(top, bottom):
            for column in range(left, right):
                x, y = column + 0.5, row + 0.5
                u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                w = 1 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                near = u / z[a] + v / z[b] + w / z[c]
                if near > inverse[row, column]:
                    inverse[row, column], found[row, column] = near, f
                    weights[row, column, 0] = u / z[a] / near
                    weights[row, column, 1] = v / z[b] / near
                    weights[row, column, 2] = w / z[c] / near
    return inverse, found, weights


def write_truth(bodies: Sequence[Body], times: Sequence[float], args: Args) -> None:
    """Write motion.json and the vertices of what bends."""
    folder = args.output / "ground_truth"
    for name in ("depth", "object_id"):
        (folder / name).mkdir(parents=True)
    objects = []
    for i, body in enumerate(bodies):
        frames = [body.frame(t) for t in times]
        objects.append(
            {
                "name": body.name,
                "pass_index": i + 1,
                "object_to_world": [pose.round(9).tolist() for pose, _ in frames],
                "twist": [twist.round(9).tolist() for _, twist in frames],
            }
        )
        if body.bend is not None:
            vertices, velocity = map(np.stack, zip(*(body.place(t) for t in times), strict=True))
            np.savez_compressed(
                folder / f"{body.name}_vertices.npz",
                vertices=vertices.astype(np.float32),
                velocity=velocity.astype(np.float32),
                faces=body.faces.astype(np.int32),
                rest=body.rest.numpy().astype(np.float32),
                times=np.array(times),
            )
    content = {
        "times": list(times),
        "convention": CONVENTION,
        "objects": objects,
        "held_out_cameras": list(args.held_out),
        "deforming": {b.name: f"it bends: {b.name}_vertices.npz" for b in bodies if b.bend is not None},
    }
    (folder / "motion.json").write_text(json.dumps(content))


def main(args: Args) -> None:
    """Draw all views and write them with the cameras and the true motion."""
    if args.output.exists() and any(args.output.iterdir()):
        raise SystemExit(f"{args.output} is not empty; name a new folder")
    bodies, cameras = pond(args.seed, *args.beats), poses(args.cameras, args.seed)
    times = [f / args.frames for f in range(args.frames)]
    write_truth(bodies, times, args)
    splits: dict[str, list[tuple[int, int, dict[str, Any]]]] = {"train": [], "val": [], "test": []}
    for name in splits:
        (args.output / name).mkdir()
    for f, t in enumerate(times):
        places = [body.place(t)[0] for body in bodies]
        for c, pose in enumerate(cameras):
            name = "test" if t > args.observed else "val" if c in args.held_out else "train"
            stem = f"c{c:02d}_f{f:03d}"
            picture = draw(bodies, places, pose, args.size)
            Image.fromarray(picture.rgba).save(args.output / name / f"{stem}.png")
            entry = {"file_path": f"{name}/{stem}", "time": t, "transform_matrix": pose.round(9).tolist()}
            splits[name].append((c, f, entry))
            if c in args.held_out and f % args.every == 0:
                truth = args.output / "ground_truth"
                np.savez_compressed(truth / f"depth/{stem}.npz", depth=picture.depth.astype(np.float16))
                Image.fromarray(picture.labels).save(truth / f"object_id/{stem}.png")
    for name, entries in splits.items():
        ordered = [entry for _, _, entry in sorted(entries, key=lambda e: e[:2])]
        content = {"camera_angle_x": ANGLE_X, "frames": ordered}
        (args.output / f"transforms_{name}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(tyro.cli(Args))
