"""Masks against labels whose numbers differ."""

import numpy as np
import pytest

from dyn3d_ns.metrics.segmentation import matched_iou

LABELS = np.array([[0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 0, 0]])


def test_other_numbers_for_the_same_parts_score_one() -> None:
    assert matched_iou(np.where(LABELS == 1, 7, np.where(LABELS == 2, 3, 0)), LABELS) == 1.0


def test_a_missed_object_and_a_shared_mask_cost_what_they_should() -> None:
    assert matched_iou(np.where(LABELS == 1, 5, 0), LABELS) == 0.5
    # One mask over both objects matches one of them: 4 of 8 pixels.
    assert matched_iou((LABELS > 0).astype(int), LABELS) == 0.25


def test_images_without_objects() -> None:
    nothing = np.zeros((2, 2), int)
    assert matched_iou(nothing, nothing) == 1.0 and matched_iou(nothing + 1, nothing) == 0.0
    with pytest.raises(ValueError, match="differ in size"):
        matched_iou(nothing, LABELS)
