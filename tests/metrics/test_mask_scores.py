"""DAS3R's table of masks: J, F, their mean, and how often J exceeds one half."""

import numpy as np
import pytest

from dyn3d_ns.metrics.masks import contour_accuracy, mask_scores, region_similarity


def test_means_and_recall() -> None:
    true = np.zeros((40, 60), bool)
    true[10:30, 10:30] = True
    half = true.copy()
    half[10:30, 10:19] = False  # J = 11 / 20
    far = np.roll(true, 25, axis=1)
    empty = np.zeros_like(true)
    pairs = [(true, true), (half, true), (far, true), (empty, empty)]
    regions = [region_similarity(a, b) for a, b in pairs]
    contours = [contour_accuracy(a, b) for a, b in pairs]
    found = mask_scores(regions, contours)
    assert found["j_mean"] == pytest.approx((1 + 11 / 20 + 0 + 1) / 4)
    assert found["j_recall"] == 0.75
    assert contours[3] == 1
    assert found["f_mean"] == pytest.approx(np.mean(contours))
    assert found["jf_mean"] == pytest.approx((found["j_mean"] + found["f_mean"]) / 2)
