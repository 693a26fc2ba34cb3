"""The second look at masks, and what is widened."""

import pytest
import torch

from dyn3d_ns.models.das3r.masks import MaskSettings, residual, robust_scale, second_look, widen

SETTINGS = MaskSettings()


def look(prior: float, error: float) -> float:
    return float(second_look(torch.tensor([[prior]]), torch.tensor([[error]]), 1.0, SETTINGS))


def test_colours_can_overrule_the_masks_both_ways() -> None:
    assert look(1.0, SETTINGS.tolerance) > 0.9, "an error that says nothing leaves the mask as it is"
    assert look(0.0, SETTINGS.tolerance) < 0.1
    assert look(1.0, 0.0) < look(1.0, SETTINGS.tolerance)
    assert look(1.0, 0.0) > 0.5, "a small error alone clears no mask: the scene may show what moves"
    assert look(0.0, 20.0) > 0.5, "what the scene cannot explain moves, whatever the mask says"
    assert look(0.5, SETTINGS.tolerance) == pytest.approx(0.5)


def test_no_side_has_the_last_word_for_certain() -> None:
    assert look(0.0, 1e6) < 0.9 and look(1.0, 0.0) < 0.95


def test_an_error_is_averaged_over_its_neighbourhood() -> None:
    truth, render = torch.zeros(9, 9, 3), torch.zeros(9, 9, 3)
    render[4, 4] = 1.0
    found = residual(render, truth, 3)
    assert float(found[4, 4]) == pytest.approx(1 / 9)
    assert float(found[3, 3]) == pytest.approx(1 / 9) and float(found[2, 4]) == 0
    corner = torch.zeros(9, 9, 3)
    corner[0, 0] = 1.0
    assert float(residual(corner, truth, 3)[0, 0]) == pytest.approx(1 / 4), "no zeros beyond the border"


def test_the_scale_is_that_of_static_pixels() -> None:
    errors = torch.cat([torch.full((90,), 0.1), torch.full((200,), 5.0)])
    weights = torch.cat([torch.ones(90), torch.zeros(200)])
    assert robust_scale(errors, weights) == pytest.approx(0.14826)
    assert robust_scale(torch.zeros(10), torch.ones(10)) == pytest.approx(1 / 255)
    assert robust_scale(errors, torch.zeros(290)) == pytest.approx(1 / 255), "nothing is static"


def test_widening_grows_squares_and_back() -> None:
    motion = torch.zeros(2, 11, 11)
    motion[1, 5, 5] = 0.7
    wide = widen(motion, 2)
    assert float(wide[0].max()) == 0
    assert int((wide[1] == 0.7).sum()) == 25
    assert torch.equal(-widen(-wide, 2), motion)
    assert widen(motion, 0) is motion
