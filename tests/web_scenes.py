"""Small scenes that move in every way that a page can play, and their pictures by our rasteriser."""

from __future__ import annotations

import io
import zlib

import numpy as np
import torch
from PIL import Image

from dyn3d_ns.export.web import Page
from dyn3d_ns.export.web_columns import Columns
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.motion_table import ROW
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.gaussians.carried import CERTAIN, CarriedScene
from dyn3d_ns.gaussians.colors import ColorWaves
from dyn3d_ns.gaussians.skinning import BEND
from dyn3d_ns.geometry.cameras import viewmats_of
from dyn3d_ns.geometry.rotations import normalize_quat
from dyn3d_ns.io.splats import About, Splats, StoredSequence, View
from dyn3d_ns.rendering import rasterize
from dyn3d_ns.timeline import Timeline

FRAMES, OBSERVED, FPS, FOV, COUNT = 9, 0.75, 8.0, 40.0, 120
BACKGROUND = (0.2, 0.4, 0.6)
TIMELINE = Timeline(tuple(np.linspace(0, 1, FRAMES).tolist()), OBSERVED, FPS)


def carried_scene(bodies: bool = False, seed: int = 0, motions: int = 5, latents: int = 6) -> CarriedScene:
    """Return Gaussians that move, turn and bend a good way in the observed time and after it; some rest.

    Each mixes the motions, or follows one body, of which the last but one has none; of the latent motions one
    bends so little that nobody sees it.
    """
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    params = {
        "means": 0.35 * normal(COUNT, 3),
        "scales": np.log(0.06) + 0.6 * normal(COUNT, 3),
        "quats": normal(COUNT, 4),
        "opacities": 2.0 * normal(COUNT, 1),
        "features_dc": normal(COUNT, 3),
        "features_rest": 0.4 * normal(COUNT, 3, 3),
        "motion_codes": 3.0 * normal(COUNT, motions),
        "color_changes": 0.3 * normal(COUNT, 2, 3),
    }
    params["bends"] = 0.1 * normal(COUNT, latents, BEND)
    params["bends"][:, 1] *= 1e-5
    if bodies:
        number = (torch.arange(COUNT) % motions)[:, None]
        number[number == motions - 2] = 1
        params["motion_codes"] = torch.full((COUNT, motions), -CERTAIN).scatter(1, number, CERTAIN)
    moved = KeyframeMotions(
        TimeBasis(0.375, 0.0, OBSERVED, keyframes=3), 0.5 * normal(motions, 3), latents, TIMELINE.dt
    )
    moved.coefficients.data = 0.35 * normal(*moved.coefficients.shape)
    ahead = OBSERVED + TIMELINE.dt * torch.arange(5)
    table = moved.table(OBSERVED)
    steps = 0.2 * normal(motions, ROW + latents - 9)
    steps[0] = 0
    future = torch.stack([table[:, 9:] + (t - OBSERVED) / TIMELINE.dt * steps for t in ahead.tolist()])
    moved.go_on(normalize_quat(future[..., 3:7]), future[..., :3], future[..., 7:])
    scene = CarriedScene(params, moved, ColorWaves(2, 0.0, OBSERVED), True)
    scene.resting = torch.arange(COUNT) % 4 == 0
    return scene


def sequence() -> StoredSequence:
    """Return Gaussians at some times, of which some move, turn, and change size, opacity and colour."""
    random = np.random.default_rng(3)
    quats = random.normal(size=(COUNT, 4))
    still = Splats(
        0.35 * random.normal(size=(COUNT, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(np.log(0.06) + 0.6 * random.normal(size=(COUNT, 3))).astype(np.float32),
        random.uniform(0.05, 0.95, COUNT).astype(np.float32),
        (0.5 * random.normal(size=(COUNT, 9, 3))).astype(np.float32),
    )
    moves = np.arange(COUNT) % 3 == 0
    instants = []
    for k in range(4):
        means, scales, opacities, sh = (
            still.means.copy(),
            still.scales.copy(),
            still.opacities.copy(),
            still.sh.copy(),
        )
        means[moves] += np.float32(0.1 * k) * np.array([1, 0.5, -1], np.float32)
        scales[moves] *= np.float32(1 + 0.1 * k)
        opacities[moves] *= np.float32(1 - 0.2 * k)
        sh[moves, 0] += np.float32(0.3 * k)
        turned = still.quats.copy()
        between = still.quats[moves] + np.float32(0.2 * k) * still.quats[moves][:, ::-1]
        turned[moves] = between / np.linalg.norm(between, axis=1, keepdims=True)
        # The sign of a quaternion means nothing.
        instants.append(Splats(means, turned * (-1) ** k, scales, opacities, sh))
    return StoredSequence(instants, (0.0, 0.5, 1.0, 2.0), About(method="test", fps=4.0))


def read_columns(columns: Columns) -> dict[str, np.ndarray]:
    """Read columns as the page does."""
    data, at, found = zlib.decompress(columns.deflated()), 0, {}
    for column in columns.described:
        rows, width, bits = column["rows"], column["width"], column["bits"]
        part = data[at : at + rows * width * bits // 8]
        at += len(part)
        if bits == 32:
            found[column["name"]] = np.frombuffer(part, "<f4").reshape(rows, width)
            continue
        planes = np.frombuffer(part, np.uint8).reshape(width, bits // 8, rows).astype(np.int64)
        integers = (planes * (1 << np.arange(bits - 8, -1, -8))[:, None]).sum(1).T
        if column["along"]:
            integers = np.cumsum(integers, 0) % (1 << bits)
        found[column["name"]] = np.array(column["low"]) + np.array(column["step"]) * integers
    assert at == len(data)
    return found


def view_from(angle: float) -> View:
    """Return a camera that looks at the scene from an angle around the z axis, rolled a little."""
    back = np.array([np.cos(angle), np.sin(angle), 0.4])
    back /= np.linalg.norm(back)
    right = np.cross([0.1, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
    pose[:3, 3] = 3.0 * back
    return View(pose, FOV, (96, 96))


VIEWS = tuple(view_from(angle) for angle in (0.0, 0.7, 1.9))


def page(
    title: str = "A scene", observed: float = OBSERVED, recorded: float = 1.0, views: tuple[View, ...] = VIEWS
) -> Page:
    """Return what a page tells, of times of the timeline."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(stream, "JPEG")
    seconds = TIMELINE.duration
    return Page(
        title=title,
        about=About("test", "dyn3d_ns 0", fps=FPS, observed=(0.0, observed * seconds), views=views),
        recorded=recorded * seconds,
        up=(0.0, 0.0, 1.0),
        near=0.01,
        background=BACKGROUND,
        poster=stream.getvalue(),
    )


def rendered(splats: Splats, view: View, size: int) -> np.ndarray:
    """Return the picture of Gaussians by our rasteriser, 8 bits a channel."""
    focal = 0.5 * size / np.tan(np.radians(view.fov) / 2)
    K = torch.tensor([[[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]], dtype=torch.float32)
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    means, quats, scales, opacities, sh = (
        torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays
    )
    pose = torch.from_numpy(np.asarray(view.pose)[None, :3]).float()
    render, _, _ = rasterize(
        means, quats, scales, opacities, sh, viewmats_of(pose), K, size, size, sh_degree=splats.degree,
        backgrounds=torch.tensor([BACKGROUND]), packed=False,
    )  # fmt: skip
    return (255 * render[0].clamp(0, 1)).round().byte().numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images of 8 bits a channel."""
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))
