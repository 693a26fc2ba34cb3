"""Samples along rays, what they add up to, and features where places were and will be."""

import pytest
import torch

from dyn3d_ns.models.mononerf.fields import Guides
from dyn3d_ns.models.mononerf.scene import blended, expected, layers_of, optical, weights_of
from dyn3d_ns.models.mononerf.videos import RaysInCube
from tests.models.mononerf.conftest import small_scene


def rays_of(scene, frame: int, count: int = 5) -> RaysInCube:
    videos = scene.videos
    torch.manual_seed(1)
    starts = torch.cat([torch.rand(count, 2) - 0.5, -torch.ones(count, 1)], 1)
    ways = torch.tensor([0.0, 0, 2]).expand(count, 3)
    frames = torch.full((count,), frame)
    return RaysInCube(
        frames, starts, ways, torch.tensor([0.0, 0, -1]).expand(count, 3), videos.times[frames],
        videos.known().order[frames],
    )  # fmt: skip


def constant_move(scene, move) -> None:
    """Let everything move the same way: tanh of a bias alone."""
    from dyn3d_ns.models.mononerf.fields import LARGEST_MOVE

    with torch.no_grad():
        scene.dynamic.move.weight.zero_()
        scene.dynamic.move.bias.copy_(torch.atanh(torch.tensor(move) / LARGEST_MOVE))


def guides_of(scene, monkeypatch) -> list[Guides]:
    """Note what the head of what moves is told."""
    seen: list[Guides] = []
    forward = scene.dynamic.forward
    monkeypatch.setattr(scene.dynamic, "forward", lambda h, g: (seen.append(g), forward(h, g))[1])
    return seen


@pytest.mark.parametrize("flow_steps", [1, 2, 3])
@pytest.mark.parametrize("integration", ["euler", "ode"])
def test_a_constant_velocity_carries_a_frame_forth_and_back(videos, flow_steps, integration):
    scene = small_scene(videos, flow_steps=flow_steps, integration=integration)
    constant_move(scene, [0.05, -0.02, 0.01])
    rays = rays_of(scene, 5)
    places = scene.places(rays, torch.rand(5, 3))
    found = scene.moving(rays.times, places, scene.encode(scene.temporal), rays.frames)
    move = torch.tensor([0.05, -0.02, 0.01]).expand(5, 3, 3)
    torch.testing.assert_close(found.velocity, move)
    torch.testing.assert_close(found.after - places, move, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.before - places, -move, atol=1e-5, rtol=0)
    motion = scene.motion(rays.times, 3, scene.encode(scene.temporal), rays.frames)
    far = motion.carry(places.flatten(0, 1), found.velocity.flatten(0, 1), 3.0).view(places.shape)
    torch.testing.assert_close(far - places, 3 * move, atol=1e-5, rtol=0)


def test_features_are_gathered_where_places_were_and_will_be(videos, monkeypatch):
    """Frames 4 to 8 are a video; at its ends the frame's own features stand in."""
    scene = small_scene(videos)
    constant_move(scene, move := torch.tensor([0.05, -0.02, 0.01]))
    seen, features = guides_of(scene, monkeypatch), scene.encode(scene.temporal)
    for frame in (6, 4, 8):
        rays = rays_of(scene, frame)
        places = scene.places(rays, torch.tensor([[0.2, 0.6]]).expand(5, 2))
        scene.moving(rays.times, places, features, rays.frames)

        frames = frame, max(frame - 1, 4), min(frame + 1, 8)
        for found, of in zip(seen[-1], frames, strict=True):
            at, all_of = places + (of - frame) * move, torch.full((5,), of)
            uv, _ = scene.videos.project(at, all_of)
            colors = videos.tables().colors.at(all_of.repeat_interleave(2), uv.flatten(0, 1))
            cues = videos.depth_cues(at, all_of, uv).flatten(0, 1)
            torch.testing.assert_close(found[:, -3:], colors, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(found[:, :4], cues, atol=1e-3, rtol=1e-3)


def test_depth_cues_can_be_left_out(videos, monkeypatch):
    """As published: the networks see the features alone."""
    scene = small_scene(videos, depth_cues=False)
    seen = guides_of(scene, monkeypatch)
    rays = rays_of(scene, 6)
    features = scene.encode(scene.temporal)
    scene.moving(rays.times, places := scene.places(rays, torch.rand(5, 2)), features, rays.frames)
    uv, _ = scene.videos.project(places, rays.frames)
    wanted = features.maps.at(rays.frames.repeat_interleave(2), uv.flatten(0, 1))
    assert seen[0].now.shape == (10, 7)
    torch.testing.assert_close(seen[0].now[:, :4], wanted)


def test_without_guides_frames_around_do_not_count(videos, monkeypatch):
    """The ablation has the same network, which sees the frame of its time in place of those around."""
    seen: list[Guides] = []
    for guided in (True, False):
        scene = small_scene(videos, guided=guided)
        constant_move(scene, [0.05, 0.0, 0.0])
        told, rays = guides_of(scene, monkeypatch), rays_of(scene, 6)
        places, features = scene.places(rays, torch.rand(5, 2)), scene.encode(scene.temporal)
        scene.moving(rays.times, places, features, rays.frames)
        seen.extend(told)
    guided, alone = seen
    torch.testing.assert_close(guided.now, alone.now)
    assert not torch.allclose(guided.before, guided.now) and not torch.allclose(guided.after, guided.now)
    assert torch.equal(alone.before, alone.now) and torch.equal(alone.after, alone.now)


def test_between_two_frames_places_are_carried_to_the_nearer_one(videos, monkeypatch):
    scene = small_scene(videos)
    constant_move(scene, [0.08, 0.0, 0.0])
    seen, rays = guides_of(scene, monkeypatch), rays_of(scene, 6)
    between = rays._replace(times=rays.times + 0.25 * 0.25)
    places = scene.places(rays, torch.tensor([[0.5]]).expand(5, 1))
    scene.moving(between.times, places, scene.encode(scene.temporal), rays.frames)
    uv, _ = scene.videos.project(places - torch.tensor([0.25 * 0.08, 0, 0]), rays.frames)
    there = videos.tables().colors.at(rays.frames, uv.flatten(0, 1))
    torch.testing.assert_close(seen[0].now[:, -3:], there, atol=1e-4, rtol=1e-4)


def test_opaque_matter_hides_what_is_behind_it():
    lengths = torch.full((1, 4), 0.25)
    moving = torch.tensor([[0.0, 1e5, 0, 0]])
    resting = torch.tensor([[0.0, 0, 1e5, 0]])
    layers = layers_of(moving, torch.tensor([[0.0, 1, 0, 0]]), resting, lengths)
    torch.testing.assert_close(layers.moving, torch.tensor([[0.0, 1, 0, 0]]))
    assert float(layers.resting.sum()) < 1e-4
    open_ = layers_of(moving, torch.zeros(1, 4), resting, lengths)
    torch.testing.assert_close(open_.resting, torch.tensor([[0.0, 0, 1, 0]]), atol=1e-4, rtol=0)
    half = layers_of(moving, torch.tensor([[0.0, 0.5, 0, 0]]), resting, lengths)
    torch.testing.assert_close(half.moving.sum() + half.resting.sum(), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(half.moving.sum(), torch.tensor(0.5), atol=1e-4, rtol=0)


def test_weights_are_those_of_volume_rendering():
    density, lengths = torch.rand(6, 8) + 0.1, torch.rand(6, 8) + 0.1
    depths = optical(density, lengths).double()
    alpha = 1 - torch.exp(-depths)
    through = torch.cumprod(torch.cat([torch.ones(6, 1).double(), 1 - alpha[:, :-1]], 1), 1)
    found = weights_of(density, lengths)
    torch.testing.assert_close(found.double(), through * alpha, atol=1e-5, rtol=1e-4)
    # The last sample stands for all that is behind.
    torch.testing.assert_close(found.sum(1), torch.ones(6), atol=1e-4, rtol=0)
    values = torch.rand(6, 8, 3)
    torch.testing.assert_close(expected(found, values), blended(found, values), atol=1e-3, rtol=1e-3)


def test_resting_places_are_looked_up_in_frames_that_do_not_hide_them(videos):
    scene = small_scene(videos)
    rays = rays_of(scene, 4, count=3)
    surface = torch.full((3,), 0.5)
    places = scene.places(rays, surface[:, None])
    videos.moving.zero_()
    videos.forget()
    assert torch.equal(scene._unhidden(rays, surface), rays.sources[:, :2])
    # The nearest frame is all mover.
    first = int(videos.tables().colors.starts[int(rays.sources[0, 0])])
    height, width = videos.sizes[int(rays.sources[0, 0])].tolist()
    videos.moving[first : first + height * width] = True
    videos.forget()
    seen = (
        (scene.videos.project(places, rays.sources[:, 1])[0] > 0)
        & (scene.videos.project(places, rays.sources[:, 1])[0] < 1)
    ).all()
    assert bool(seen)
    assert torch.equal(scene._unhidden(rays, surface), rays.sources[:, 1:3])
