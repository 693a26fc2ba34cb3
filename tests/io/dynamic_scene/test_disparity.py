"""The robust fit of relative inverse depth."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.io.dynamic_scene.disparity import fit_disparity


def test_a_line_among_outliers() -> None:
    """Two fifths of the points say something else; noise is that of flow."""
    rng = np.random.default_rng(1)
    x = rng.uniform(1000, 7000, 4000)
    y = 2e-5 * x + 0.01 + rng.normal(0, 5e-4, 4000)
    wrong = rng.random(4000) < 0.4
    y[wrong] = rng.uniform(0, 0.4, wrong.sum())
    fit = fit_disparity(x, y, np.ones(4000))
    assert fit is not None
    assert fit.slope == pytest.approx(2e-5, rel=0.02) and fit.offset == pytest.approx(0.01, abs=1e-3)
    x0, y0 = x - x.mean(), y - y.mean()
    assert (x0 * y0).sum() / (x0**2).sum() < 0.8 * 2e-5, "plain least squares would be far off"


def test_a_wall_that_fills_most_of_the_picture() -> None:
    """Every line through the wall's depth fits it; the little beside it decides."""
    x = np.r_[np.full(900, 100.0), np.full(100, 300.0)]
    fit = fit_disparity(x, 0.001 * x + 0.2, np.ones(1000))
    assert fit is not None and (fit.slope, fit.offset) == pytest.approx((0.001, 0.2), rel=1e-6)
    assert fit.error < 1e-6


def test_no_fit_is_better_than_a_wrong_one() -> None:
    x = np.linspace(1, 2, 200)
    assert fit_disparity(x, 3 - x, np.ones(200)) is None, "nearer must be larger"
    assert fit_disparity(np.ones(200), x, np.ones(200)) is None
    assert fit_disparity(x[:20], x[:20], np.ones(20)) is None


def test_weights_count() -> None:
    x = np.linspace(1, 2, 400)
    y = np.where(np.arange(400) % 2, 0.5 * x, 0.5 * x + 0.004)
    trusted = fit_disparity(x, y, np.where(np.arange(400) % 2, 4.0, 0.01))
    assert trusted is not None and trusted.offset == pytest.approx(0, abs=5e-4)
