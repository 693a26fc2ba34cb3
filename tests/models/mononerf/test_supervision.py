"""What training rays are compared with, against constant motion."""

import pytest
import torch

from dyn3d_ns.models.mononerf.losses import Elsewhere, MonoNerfLosses, Rendered, Truth, dynamic_losses
from dyn3d_ns.models.mononerf.model import frames_in_turn
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


@pytest.mark.parametrize("integration", ["euler", "ode"])
def test_what_moves_is_followed_to_a_frame_that_hides_it_and_noted_there(videos, integration):
    scene = small_scene(videos, integration=integration, reach=4)
    constant_move(scene, MOVE)
    seen, rays = scene.encode(scene.temporal), rays_of(scene, 7)
    out, known = rendered(scene, rays), truth(rays)
    before = scene.proposals.moving.clone()
    videos.depth.fill_(100.0)
    videos.forget()
    assert elsewhere(scene, rays, out, known, seen, -2, 9) is None
    assert elsewhere(scene, rays, out, known, seen, 2, 9) is None, "beyond the end of the video"
    assert torch.equal(scene.proposals.moving, before)
    videos._part(videos.depth, 5).fill_(0.5)
    videos.forget()
    found = elsewhere(scene, rays, out, known, seen, -2, 9)
    assert found is not None and found.part == 3 / 5
    assert torch.equal(found.truth, known.color[[0, 2, 4]])
    # Everything is hidden there, so that all that the rays met is noted, at the places they were carried to.
    carried = (out.places - 2 * torch.tensor(MOVE))[[0, 2, 4]]
    of = torch.full((3,), 5)
    other = scene.moving(videos.times[of], carried, seen, of)
    weights = weights_of(other.density, out.lengths[[0, 2, 4]])
    torch.testing.assert_close(found.blend, (weights * other.blend).sum(1), atol=1e-4, rtol=1e-3)
    color = (weights[..., None] * other.color).sum(1)
    torch.testing.assert_close(found.color, color, atol=1e-4, rtol=1e-3)
    changed = (scene.proposals.moving != before).flatten(1)
    assert changed.any(1).nonzero().flatten().tolist() == [5]
    cells = scene.proposals.cells(carried[(carried.abs() <= 1).all(-1)])
    assert torch.equal(changed[5].nonzero().flatten(), cells.unique())
    found.color.sum().backward()
    for learns in (scene.dynamic.out.weight, scene.dynamic.move.bias):
        assert learns.grad is not None and bool(learns.grad.any())

    found = elsewhere(scene, rays, out, known, seen, -2, 2)
    assert found is not None and len(found.color) == 2 and found.part == 3 / 5


def test_of_what_is_followed_only_what_the_frame_hides_is_noted_and_nothing_outside_of_the_cube(videos):
    """The frame knows what lies before its surface: its own rays meet it."""
    scene = small_scene(videos)
    constant_move(scene, [0.0, 0.0, 0.0])
    seen, rays = scene.encode(scene.temporal), rays_of(scene, 7)
    rays.starts[0, 0] = 1.1
    videos._part(videos.depth, 5).fill_(1.8)
    videos.forget()
    out, before = rendered(scene, rays), scene.proposals.moving.clone()
    weights = torch.zeros_like(out.moving_weights)
    weights[:, -1] = 1
    out = out._replace(moving_weights=weights)
    assert elsewhere(scene, rays, out, truth(rays), seen, -2, 9) is not None
    noted = videos.hidden(out.places, torch.full((5,), 5))
    assert bool(noted[0].all()) and 0 < int(noted[2].sum()) < 4
    changed = (scene.proposals.moving != before)[5].flatten().nonzero().flatten()
    cells = scene.proposals.cells(out.places)
    assert torch.equal(changed, cells[[2, 4]][noted[[2, 4]]].unique())


def test_frames_are_looked_at_in_turn_from_the_nearest_on():
    assert [frames_in_turn(turn, 3) for turn in range(8)] == [1, -1, 2, -2, 3, -3, 1, -1]


def test_losses_of_followed_rays_weigh_as_if_at_every_step(videos):
    scene = small_scene(videos)
    rays = rays_of(scene, 6)
    out, known = rendered(scene, rays), truth(rays)
    followed = Elsewhere(torch.full((2, 3), 0.75), torch.full((2, 3), 0.25), torch.tensor([0.5, 0.9]), 0.4)
    weights = MonoNerfLosses(hidden_color=3.0, hidden_blending=0.5, warp_period=2)
    without = dynamic_losses(out, known, [], None, None, weights)
    found = dynamic_losses(out, known, [], None, followed, weights)
    assert set(found) - set(without) == {"hidden_color", "hidden_blending"}
    torch.testing.assert_close(found["hidden_color"], torch.tensor(2 * 0.4 * 3.0 * 0.25))
    torch.testing.assert_close(found["hidden_blending"], torch.tensor(2 * 0.4 * 0.5 * 0.3))
