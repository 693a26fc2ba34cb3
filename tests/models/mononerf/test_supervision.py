"""What training rays are compared with, against constant motion."""

import pytest
import torch

from dyn3d_ns.models.mononerf.losses import Rendered, Truth
from dyn3d_ns.models.mononerf.scene import Layers, weights_of
from dyn3d_ns.models.mononerf.supervision import elsewhere, flow_to, warped
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
        uv, _ = scene.videos.project((place + frames * torch.tensor(MOVE))[:, None], rays.frames + frames)
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


def test_what_moves_is_followed_to_a_frame_that_hides_it_and_noted_there(videos):
    scene = small_scene(videos)
    constant_move(scene, MOVE)
    seen, rays = scene.encode(scene.temporal), rays_of(scene, 7)
    out, known = rendered(scene, rays), truth(rays)
    before = scene.proposals.moving.clone()
    videos.depth.fill_(100.0)
    videos.forget()
    assert elsewhere(scene, rays, out, known, seen, -2) is None
    assert elsewhere(scene, rays, out, known, seen, 2) is None, "beyond the end of the video"
    assert torch.equal(scene.proposals.moving, before)
    videos._part(videos.depth, 5).fill_(0.5)
    videos.forget()
    found = elsewhere(scene, rays, out, known, seen, -2)
    assert found is not None and found.part == 3 / 5
    assert torch.equal(found.truth, known.color[[0, 2, 4]])
    # Everything is hidden there, so that all that the rays met is noted, at the places they were carried to.
    carried = (out.places - 2 * torch.tensor(MOVE))[[0, 2, 4]]
    of = torch.full((3,), 5)
    other = scene.moving(videos.times[of], carried, seen, of)
    torch.testing.assert_close(
        found.blend, (weights_of(other.density, out.lengths[[0, 2, 4]]) * other.blend).sum(1)
    )
    changed = (scene.proposals.moving != before).flatten(1)
    assert changed.any(1).nonzero().flatten().tolist() == [5]
    assert set(changed[5].nonzero().flatten().tolist()) == set(
        scene.proposals.cells(carried).flatten().tolist()
    )
    found.color.sum().backward()
    assert scene.dynamic.out.weight.grad is not None


def test_of_what_is_followed_only_what_the_frame_hides_is_noted(videos):
    """The frame knows what lies before its surface: its own rays meet it."""
    scene = small_scene(videos)
    constant_move(scene, [0.0, 0.0, 0.0])
    seen, rays = scene.encode(scene.temporal), rays_of(scene, 7)
    videos._part(videos.depth, 5).fill_(1.8)
    videos.forget()
    out, before = rendered(scene, rays), scene.proposals.moving.clone()
    with torch.no_grad():
        weights = torch.zeros_like(out.moving_weights)
        weights[:, -1] = 1
    assert elsewhere(scene, rays, out._replace(moving_weights=weights), truth(rays), seen, -2) is not None
    hidden = videos.hidden(out.places, torch.full((5,), 5))[[0, 2, 4]]
    assert 0 < int(hidden.sum()) < hidden.numel()
    changed = (scene.proposals.moving != before)[5].flatten().nonzero().flatten()
    cells = scene.proposals.cells(out.places[[0, 2, 4]])
    assert torch.equal(changed, cells[hidden].unique())
