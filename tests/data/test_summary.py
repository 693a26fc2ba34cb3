"""What tells the images of one training from those of another."""

from __future__ import annotations

import pytest

from dyn3d_ns.data.summary import DataSummary

BEFORE = DataSummary("/data/a", 20, 5, 64, 48, [1.0, 0.0, 250.0], 1000)


def test_the_same_images_elsewhere_are_the_same() -> None:
    assert BEFORE._replace(place="/moved/a").differs_from(BEFORE._asdict()) is None
    rounded = [1.0, 1e-6, 250.001]
    assert BEFORE._replace(poses=rounded).differs_from(BEFORE._asdict()) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 24}, "24 training images instead of 20"),
        ({"times": 6}, "6 recorded times instead of 5"),
        ({"width": 32}, "32x48 instead of 64x48"),
        ({"poses": [1.0, 0.6, 250.0]}, "cameras stand elsewhere"),
        ({"nbytes": 999}, "image files are others"),
    ],
)
def test_other_images_are_told(changes: dict, said: str) -> None:
    assert said in (BEFORE._replace(**changes).differs_from(BEFORE._asdict()) or "")
