"""Compare masks whose numbers mean nothing with labels."""

import numpy as np
from jaxtyping import Integer
from scipy.optimize import linear_sum_assignment


def matched_iou(
    masks: Integer[np.ndarray, "H W"], labels: Integer[np.ndarray, "H W"], background: int = 0
) -> float:
    """Return the mean intersection over union of the labels' objects, each matched with another mask.

    The matching is the best one (Hungarian); an object without a mask counts as 0. An image without objects
    scores 1 if it has no masks either.

    Args:
        masks: Predicted parts.
        labels: True objects.
        background: Number of what belongs to none, in both.
    """
    if masks.shape != labels.shape:
        raise ValueError(f"masks {masks.shape} and labels {labels.shape} differ in size")
    parts = [p for p in np.unique(masks) if p != background]
    objects = [o for o in np.unique(labels) if o != background]
    if not objects:
        return float(not parts)
    overlap = np.zeros((len(objects), max(len(parts), 1)))
    for i, o in enumerate(objects):
        for j, p in enumerate(parts):
            both = np.logical_and(labels == o, masks == p).sum()
            overlap[i, j] = both / np.logical_or(labels == o, masks == p).sum()
    rows, columns = linear_sum_assignment(-overlap)
    return float(overlap[rows, columns].sum() / len(objects))
