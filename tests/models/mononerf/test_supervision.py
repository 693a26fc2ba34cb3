"""What training rays are compared with, against constant motion."""

import pytest
import torch

from dyn3d_ns.models.mononerf.losses import Rendered, Truth
from dyn3d_ns.models.mononerf.scene import Layers, weights_of
from dyn3d_ns.models.mononerf.supervision import flow_to, warped
from tests.models.mononerf.conftest import small_scene
from tests.models.mononerf.test_scene import constant_move, rays_of

MOVE = [0.05, -0.02, 0.01]


def rendered(scene, rays, samples: int = 4) -> Rendered:
    at = ((torch.arange(samples) + 0.5) / samples).expand(len(rays.frames), samples).contiguous()
    lengths = torch.full_like(at, 1 / samples)
    places = scene.places(rays, at)
    moving = scene.moving(rays.times, places, scene.encode(scene.temporal), rays.frames)
    weights = weights_of(moving.density, lengths)
    color = torch.zeros(len(at), 3)
    return Rendered(at, lengths, places, moving, weights, weights, Layers(weights, weights), color, color)


def truth(rays, depth: float = 0.4) -> Truth:
    count = len(rays.frames)
    moves = torch.arange(count) % 2 == 0
    return Truth(
        torch.rand(count, 3), moves, torch.full((count,), depth), torch.zeros(count, 2), torch.ones(count, 2)
    )


def test_the_flow_is_that_of_the_mean_place_of_what_moves(videos):
    scene = small_scene(videos)
    constant_move(scene, MOVE)
    rays = rays_of(scene, 6)
    known, out = truth(rays), rendered(scene, rays)
    flow, valid = torch.rand(5, 2), torch.tensor([[True], [True], [True], [False], [True]])
    place = (out.moving_weights[..., None] * out.places).sum(1) / out.moving_weights.sum(1, keepdim=True)
    for frames in (1, -1):
        found = flow_to(scene, rays, out, known, (flow, valid), frames)
        uv, _ = scene.project((place + frames * torch.tensor(MOVE))[:, None], rays.frames + frames)
        made = uv[:, 0] * torch.tensor([32.0, 20.0]) - known.pixel
        torch.testing.assert_close(found.made, made, atol=1e-3, rtol=1e-4)
        assert torch.equal(found.given, flow) and torch.equal(found.valid, valid[:, 0])
    last = rays_of(scene, 8)
    assert not bool(flow_to(scene, last, out, known, (flow, valid), 1).valid.any())


@pytest.mark.parametrize("integration", ["euler", "ode"])
def test_rays_are_followed_to_another_frame_and_back(videos, integration):
    scene = small_scene(videos, integration=integration)
    constant_move(scene, MOVE)
    seen, every = scene.encode(scene.temporal), torch.arange(5)
    for frame, frames in ((5, 1), (6, -1)):
        rays = rays_of(scene, frame)
        out, known = rendered(scene, rays), truth(rays)
        found = warped(scene, rays, out, known, seen, every, frames)
        torch.testing.assert_close(found.back, out.places, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.start, out.places)
        torch.testing.assert_close(found.velocity_change, torch.zeros_like(out.places), atol=1e-6, rtol=0)
        assert torch.equal(found.truth, known.color) and torch.equal(found.moves, known.moves)
        # The matter there is that of the places where the rays have come to, at the time there.
        to = rays.frames + frames
        there = rays._replace(frames=to, times=videos.times[to])
        other = scene.moving(there.times, out.places + frames * torch.tensor(MOVE), seen, to)
        torch.testing.assert_close(found.blend, other.blend, atol=1e-4, rtol=1e-3)
