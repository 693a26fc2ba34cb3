"""What training rays are compared with: the data, the flow that their motion makes, and other times."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.models.mononerf.losses import Elsewhere, Flow, Rendered, Truth, Warped
from dyn3d_ns.models.mononerf.scene import Features, MonoNerfScene, blended, expected, weights_of
from dyn3d_ns.models.mononerf.videos import RaysInCube, Videos


def truth_of(videos: Videos, rays: RaysInCube, bundle: RayBundle, batch: dict[str, Tensor]) -> Truth:
    """Return what is known of rays of training pixels.

    Args:
        videos: Frames of all scenes.
        rays: The rays in the cubes of their scenes.
        bundle: The same in the world.
        batch: `indices`, `image` and `depth` (planar, 0 where it is not known) of their pixels.
    """
    device = rays.starts.device
    pixel = batch["indices"].to(device)[:, [2, 1]].float() + 0.5
    depth = batch["depth"][:, 0].to(device)
    assert bundle.metadata is not None
    points = bundle.origins + bundle.directions * bundle.metadata["directions_norm"] * depth[:, None]
    at = torch.empty_like(depth)
    of = videos.scene_of[rays.frames]
    for scene in of.unique().tolist():
        mine = of == scene
        at[mine] = videos.depth_places(scene, points[mine], rays.starts[mine], rays.ways[mine])
    at = torch.where(depth > 0, at.clamp(0, 1), torch.full_like(at, -1.0))
    # The masks that the frames have by now, which a training may have mended.
    size = videos.sizes[rays.frames].flip(1).float()
    moves = videos.tables().moving.nearest(rays.frames, pixel / size)[:, 0] > 0.5
    return Truth(batch["image"][:, :3].to(device), moves, at, pixel, size)


def flow_to(
    scene: MonoNerfScene,
    rays: RaysInCube,
    out: Rendered,
    truth: Truth,
    given: tuple[Float[Tensor, "R 2"], Bool[Tensor, "R 1"]],
    frames: Literal[1, -1],
) -> Flow:
    """Return the flow that the motion makes, of the mean place of what a ray shows moving, beside the given
    flow and where it is valid: to the next frame (1) or the one before (-1)."""
    there = out.moving.after if frames == 1 else out.moving.before
    to = scene.videos.shifted(rays.frames, frames)
    uv, ahead = scene.videos.project(expected(out.moving_weights, there)[:, None], to)
    made = uv[:, 0] * scene.videos.sizes[to].flip(1) - truth.pixel
    flow, valid = (value.to(made.device) for value in given)
    return Flow(made, flow, valid[:, 0] & ahead[:, 0] & (to != rays.frames))


def warped(
    scene: MonoNerfScene,
    rays: RaysInCube,
    out: Rendered,
    truth: Truth,
    seen: Features,
    some: Int64[Tensor, "W"],
    frames: Literal[1, -1],
) -> Warped:
    """Follow some rays a frame on (1) or back (-1), and look at the dynamic field there."""
    onwards, moving, to = frames == 1, out.moving, scene.videos.shifted(rays.frames, frames)[some]
    moved = (moving.after if onwards else moving.before)[some]
    found = scene.moving(scene.videos.times[to], moved, seen, to)
    return Warped(
        blended(weights_of(found.density, out.lengths[some]), found.color),
        truth.color[some],
        found.before if onwards else found.after,
        out.places[some],
        found.velocity - moving.velocity[some],
        found.blend,
        truth.moves[some],
    )


def elsewhere(
    scene: MonoNerfScene,
    rays: RaysInCube,
    out: Rendered,
    truth: Truth,
    seen: Features,
    frames: int,
    most: int,
) -> Elsewhere | None:
    """Follow rays of what moves so many frames on (back), as far as it is hidden in the frame there.

    Rays of that frame tell nothing of it, and no sample of theirs meets it; so what is found there is noted.

    Args:
        scene: The field.
        rays: Training rays.
        out: What both fields say along them.
        truth: What is known of them.
        seen: Features of all frames.
        frames: Frames on, or back where negative.
        most: Rays to follow at most; as many are chosen of more.
    """
    videos, step = scene.videos, 1 if frames > 0 else -1
    to, last = videos.shifted(rays.frames, frames), videos.shifted(rays.frames, frames - step)
    some = (truth.moves & (to != last)).nonzero()[:, 0]
    with torch.no_grad():
        surface = expected(out.moving_weights[some], out.places[some])
        motion = scene.motion(rays.times[some], 1, seen, rays.frames[some])
        surface = motion.carry(surface, motion.velocity(surface), frames)
        some = some[videos.hidden(surface[:, None], to[some])[:, 0]]
    if not len(some):
        return None
    part = len(some) / len(rays.frames)
    if len(some) > most:
        some = some[torch.randperm(len(some), device=some.device)[:most]]
    to, count = to[some], out.places.shape[1]
    motion = scene.motion(rays.times[some], count, seen, rays.frames[some])
    velocity = out.moving.velocity[some].flatten(0, 1)
    places = motion.carry(out.places[some].flatten(0, 1), velocity, frames).view(-1, count, 3)
    found = scene.moving(videos.times[to], places, seen, to)
    met = places.detach()
    lost = videos.hidden(met, to) & (met.abs() <= 1).all(-1)
    of = to[:, None].expand(lost.shape)[lost]
    scene.proposals.note(scene.proposals.moving, of, met[lost][:, None], found.matter[lost][:, None])
    weights = weights_of(found.density, out.lengths[some])
    blend = blended(weights, found.blend[..., None])[:, 0]
    return Elsewhere(blended(weights, found.color), truth.color[some], blend, part)
