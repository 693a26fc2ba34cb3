"""Masks mended by what rests."""

import numpy as np
import pytest

from dyn3d_ns.models.mononerf.mending import mended_mask


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What rests, a picture with a square before it, and where that is."""
    rng = np.random.default_rng(0)
    rest = rng.random((60, 80, 3)).astype(np.float32) * 0.5
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:50] = True
    picture = np.where(truth[..., None], 0.9, rest).astype(np.float32)
    return rest + 0.01 * rng.standard_normal(rest.shape).astype(np.float32), picture, truth


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_what_moves_is_found_where_the_mask_missed_it(scene) -> None:
    rest, picture, truth = scene
    assert overlap(mended_mask(np.zeros_like(truth), picture, rest), truth) > 0.8  # a rim of a pixel


def test_what_rests_is_taken_out_of_a_mask(scene) -> None:
    rest, picture, truth = scene
    wrong = truth.copy()
    wrong[:12] = True
    assert overlap(mended_mask(wrong, picture, rest), truth) > 0.8


def test_a_mask_of_everything_is_no_reason_to_fail(scene) -> None:
    rest, picture, truth = scene
    assert overlap(mended_mask(np.ones_like(truth), picture, rest), truth) > 0.8


def test_noise_and_specks_are_not_masked(scene) -> None:
    rest, _, _ = scene
    noisy = rest + 0.02 * np.random.default_rng(1).standard_normal(rest.shape).astype(np.float32)
    noisy[5, 5] = 1.0
    assert not mended_mask(np.zeros(rest.shape[:2], bool), noisy, rest).any()
