"""After a training the field is asked about cells that samples have left unsure."""

from __future__ import annotations

import pytest
import torch

from dyn3d_ns.models.mononerf import survey as surveys
from dyn3d_ns.models.mononerf.proposals import DENSE, UNKNOWN
from dyn3d_ns.models.mononerf.scene import MonoNerfScene, MovingSamples
from dyn3d_ns.models.mononerf.survey import survey_what_moves
from dyn3d_ns.models.mononerf.videos import Videos
from tests.models.mononerf.conftest import small_scene


@pytest.fixture
def scene(videos: Videos) -> MonoNerfScene:
    """Frame 1 has met two dense cells and empty ones, frame 2 one that what was fitted was carried to."""
    made = small_scene(videos).eval()
    made.proposals.moving.zero_()
    made.proposals.moving[1, 3, 2, 2:4] = 50.0
    made.proposals.moving[1, 4, 2, 2] = 0.5 * DENSE
    made.proposals.moving[1, 5:] = UNKNOWN
    made.proposals.moving[2] = UNKNOWN
    made.proposals.moving[2, 0, 0, 0] = 50.0
    return made


def survey(scene: MonoNerfScene) -> None:
    survey_what_moves(scene, scene.encode(scene.temporal), torch.arange(9) != 2)


def says(scene: MonoNerfScene, raw_density: float) -> None:
    """Let the field say the same density, and that it moves, everywhere."""
    with torch.no_grad():
        scene.dynamic.out.weight.zero_()
        scene.dynamic.out.bias.copy_(torch.tensor([raw_density, 0, 0, 0, 20.0]))


def test_places_of_cells_lie_in_them_and_spread(scene: MonoNerfScene) -> None:
    grids = scene.proposals
    cells = torch.arange(8 * 6 * 8)
    places = grids.places_in(cells)
    assert torch.equal(grids.cells(places), cells[:, None].expand(-1, 8))
    sides = torch.tensor([2 / 8, 2 / 6, 2 / 8])
    torch.testing.assert_close(places.amax(1) - places.amin(1), (sides / 2).expand(len(cells), 3))
    assert places[0].unique(dim=0).shape == (8, 3)


def test_cells_that_are_dense_no_more_are_emptied_and_no_others(scene: MonoNerfScene) -> None:
    before = scene.proposals.moving.clone()
    says(scene, -20.0)
    survey(scene)
    changed = scene.proposals.moving[1] != before[1]
    assert changed.nonzero().tolist() == [[3, 2, 2], [3, 2, 3]]
    assert float(scene.proposals.moving[1][changed].max()) < 1e-3
    says(scene, 1.0)
    scene.proposals.moving.copy_(before)
    survey(scene)
    assert torch.equal(scene.proposals.moving[1], before[1])


def test_of_a_frame_that_was_not_fitted_what_it_shows_is_filled(scene: MonoNerfScene) -> None:
    says(scene, 1.0)
    survey(scene)
    found = scene.proposals.moving[2]
    known = found != UNKNOWN
    middles = scene.proposals.places_in(torch.arange(found.numel())).mean(1)
    uv, ahead = scene.videos.project(middles[None], torch.tensor([2]))
    shown = (ahead & ((uv > 0) & (uv < 1)).all(-1))[0].view(known.shape)
    assert not bool(shown[0, 0, 0]) and 0 < int(shown.sum()) < shown.numel()
    shown[0, 0, 0] = True
    assert torch.equal(known, shown)
    torch.testing.assert_close(found[known], torch.full((int(shown.sum()),), 64 * 0.6931), rtol=1e-3, atol=0)


def test_each_cell_is_asked_at_its_places_and_the_time_of_its_frame(
    scene: MonoNerfScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def density(places: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return 40 * (places[..., 0] + 0.1 * frames[:, None]).clamp(0)

    def moving(times, places, seen, frames) -> MovingSamples:
        assert torch.equal(times, scene.videos.times[frames])
        half = torch.full(places.shape[:2], 0.5)
        return MovingSamples(density(places, frames), places, half, places, places, places)

    monkeypatch.setattr(scene, "moving", moving)
    monkeypatch.setattr(surveys, "AT_ONCE", 50)
    survey(scene)
    found, cells = scene.proposals.moving[2].flatten(), torch.arange(8 * 6 * 8)
    wanted = 0.5 * density(scene.proposals.places_in(cells), torch.full_like(cells, 2)).amax(1)
    known = found != UNKNOWN
    assert int(known.sum()) > 100 and len(wanted[known].unique()) > 4
    torch.testing.assert_close(found[known], wanted[known])
