"""Places that their frame does not show are looked for in frames farther away."""

from __future__ import annotations

import pytest
import torch

from dyn3d_ns.models.mononerf.fields import Matter, Moving
from dyn3d_ns.models.mononerf.guides import Sights
from dyn3d_ns.models.mononerf.scene import MonoNerfScene
from dyn3d_ns.models.mononerf.videos import Videos
from tests.models.mononerf.conftest import small_scene
from tests.models.mononerf.test_scene import constant_move, guides_of

MOVE = torch.tensor([0.01, -0.02, 0.005])


def of_world(videos: Videos, points: torch.Tensor) -> torch.Tensor:
    """Return places of the second scene, frames 4 to 8, whose cameras stand at x = -0.2 to 0.2."""
    return videos.space(1).of_world(points)[:, None]


def looked_at(scene: MonoNerfScene, places: torch.Tensor, frame: int, monkeypatch, **kwargs):
    seen = guides_of(scene, monkeypatch)
    features = scene.encode(scene.temporal)
    of = torch.full((len(places),), frame)
    scene.moving(scene.videos.times[of], places, features, of, **kwargs)
    sights = Sights(scene.videos, features.maps, scene.depth_cues)

    def at(other: int) -> torch.Tensor:
        carried = places + (other - frame) * MOVE
        return sights.at(carried, torch.full((len(places),), other))

    return seen[-1], at


@pytest.mark.parametrize("integration", ["euler", "ode"])
def test_a_place_beside_two_pictures_is_seen_in_the_third(videos, monkeypatch, integration) -> None:
    """At depth 2, the camera at x = -0.2 sees up to x = 0.91, the others 0.1 more each."""
    scene = small_scene(videos, reach=4, integration=integration)
    constant_move(scene, MOVE.tolist())
    places = of_world(videos, torch.tensor([[1.06, 0, -2.0], [0.5, 0, -2.0]]))
    found, at = looked_at(scene, places, 4, monkeypatch)
    torch.testing.assert_close(found.after[0], at(6)[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.after[1], at(5)[1], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(at(6)[0], at(5)[0], atol=1e-2)
    # Before the first frame there is none.
    torch.testing.assert_close(found.before, found.now)
    other = places * torch.tensor([-1.0, 1, 1])
    found, at = looked_at(scene, other, 8, monkeypatch)
    torch.testing.assert_close(found.before[0], at(6)[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.before[1], at(7)[1], atol=1e-3, rtol=1e-3)


def test_a_place_behind_what_two_frames_show_is_seen_in_the_third(videos, monkeypatch) -> None:
    scene = small_scene(videos, reach=4)
    constant_move(scene, MOVE.tolist())
    for frame in (4, 5):
        videos._part(videos.depth, frame).fill_(1.5)
    videos.forget()
    places = of_world(videos, torch.tensor([[0.1, 0, -2.0]]))
    found, at = looked_at(scene, places, 4, monkeypatch)
    torch.testing.assert_close(found.after, at(6), atol=1e-3, rtol=1e-3)
    # A training ray ends at what its frame shows; and the reach can end before.
    found, at = looked_at(scene, places, 4, monkeypatch, farther=False)
    torch.testing.assert_close(found.after, at(5), atol=1e-3, rtol=1e-3)
    scene.reach = 1
    found, at = looked_at(scene, places, 4, monkeypatch)
    torch.testing.assert_close(found.after, at(5), atol=1e-3, rtol=1e-3)


def test_a_place_that_no_frame_in_reach_shows_keeps_what_the_neighbours_say(videos, monkeypatch) -> None:
    scene = small_scene(videos, reach=2)
    constant_move(scene, MOVE.tolist())
    for frame in (4, 5, 6):
        videos._part(videos.depth, frame).fill_(1.5)
    videos.forget()
    places = of_world(videos, torch.tensor([[0.1, 0, -2.0]]))
    found, at = looked_at(scene, places, 4, monkeypatch)
    torch.testing.assert_close(found.after, at(5), atol=1e-3, rtol=1e-3)
    scene.reach = 3
    found, at = looked_at(scene, places, 4, monkeypatch)
    torch.testing.assert_close(found.after, at(7), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("passed", [0.0, 0.25])
def test_places_of_both_scenes_go_on_by_the_velocity_of_the_times_they_come_to(
    videos, monkeypatch, passed
) -> None:
    """Everything moves along x, by a hundredth at the start of a video and three at its end."""
    scene, told = small_scene(videos, reach=3), []
    monkeypatch.setattr(scene.dynamic, "stem", lambda places, times, codes: torch.cat([places, times], 1))
    monkeypatch.setattr(scene.dynamic, "velocity", lambda stem: speed(stem[:, 3:]) * torch.eye(3)[0])

    def head(stem, guides):
        told.append(guides)
        return Moving(Matter(stem[:, 0], stem[:, :3]), stem[:, 0])

    monkeypatch.setattr(scene.dynamic, "forward", head)
    for frame in (0, 1, 4, 5):
        videos._part(videos.depth, frame).fill_(0.7)
    videos.forget()
    frames, spacing = torch.tensor([0, 4]), torch.tensor([1 / 3, 1 / 4])
    times = videos.times[frames] + passed * spacing
    places = torch.tensor([[[0.1, 0.05, 0.0]], [[0.2, -0.1, 0.1]]])
    features = scene.encode(scene.temporal)
    scene.moving(times, places, features, frames)
    # From between two frames places are carried back to the frame first, by the velocity where they are.
    there = places[:, 0].clone()
    there[:, 0] += speed(2 * times - 1) - passed * speed(2 * times - 1)
    there[:, 0] += speed(2 * videos.times[frames + 1] - 1)
    wanted = Sights(videos, features.maps, True).at(there[:, None], frames + 2)
    torch.testing.assert_close(told[0].after, wanted, atol=1e-4, rtol=1e-4)
    lost = videos.hidden(there[:, None], frames + 2)
    assert not bool(lost.any()) and bool(videos.hidden(there[:, None], frames + 1).all())


def speed(times: torch.Tensor) -> torch.Tensor:
    return 0.02 + 0.01 * times
