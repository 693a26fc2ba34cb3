"""Cleaning: filters, outlines, small pieces."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.video.masks.clean import clean_mask, fill_small_holes, grabcut, guided_filter, keep_large


def disc(size: int, radius: float, center: float | None = None) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size / 2 if center is None else center)
    return np.hypot(x, y) < radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_guided_filter_keeps_constants_and_edges() -> None:
    rng = np.random.default_rng(0)
    guide = np.zeros((40, 40, 3), np.uint8)
    guide[:, 20:] = 255
    constant = np.full((40, 40), 0.3, np.float32)
    assert guided_filter(guide, constant, 4) == pytest.approx(constant, abs=1e-4)
    step = (guide[..., 0] > 0).astype(np.float32)
    noisy = np.clip(step + rng.normal(0, 0.3, step.shape).astype(np.float32), 0, 1)
    smooth = guided_filter(guide, noisy, 4)
    assert smooth[:, 18].mean() < 0.3
    assert smooth[:, 21].mean() > 0.7, "the edge of the picture stays sharp"
    assert smooth[:, :18].std() < 0.5 * noisy[:, :18].std()


def test_small_pieces_and_holes_go() -> None:
    mask = disc(60, 20)
    mask[30, 30] = False
    mask[2:4, 2:4] = True
    assert keep_large(mask, 10)[2:4, 2:4].sum() == 0
    assert fill_small_holes(mask, 10)[30, 30]
    assert not keep_large(np.zeros((5, 5), bool), 1).any()


def test_grabcut_finds_the_outline_of_the_colours() -> None:
    truth = disc(120, 30)
    rng = np.random.default_rng(1)
    image = np.where(truth[..., None], [200, 60, 40], [40, 90, 160])
    image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    bloated = disc(120, 34)
    score = np.where(bloated, 0.9, 0.05).astype(np.float32)
    score[disc(120, 34) & ~disc(120, 27)] = 0.6
    found = grabcut(image, bloated, score)
    assert overlap(bloated, truth) < 0.8
    assert overlap(found, truth) > 0.95


def test_grabcut_leaves_what_it_cannot_model() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    full = np.ones((50, 50), bool)
    assert (grabcut(image, full, full.astype(np.float32)) == full).all()


@pytest.mark.parametrize("outlines", [True, False])
def test_clean_mask_of_clean_scores(outlines: bool) -> None:
    truth = disc(100, 25)
    image = np.where(truth[..., None], np.uint8(220), np.uint8(30)).repeat(3, axis=2)
    score = truth.astype(np.float32)
    score[5, 5] = 1.0
    mask = clean_mask(image, score, 0.6, 0.001, outlines)
    assert overlap(mask, truth) > 0.93
    assert not mask[5, 5]
    empty = clean_mask(image, np.zeros_like(score), 0.6, 0.001, outlines)
    assert not empty.any()
