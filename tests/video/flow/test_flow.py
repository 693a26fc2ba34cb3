"""Dense flow and its check, against motion that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.geometry.optical_flow import consistent
from dyn3d_ns.io.flow_files import read_flo
from dyn3d_ns.video.flow.consistency import flow_both_ways
from dyn3d_ns.video.flow.opencv import DisFlow, FarnebackFlow
from tests.video.clips import shifted_frames, texture


@pytest.mark.parametrize("estimator", [DisFlow("fast"), DisFlow("medium"), DisFlow(), FarnebackFlow()])
def test_a_shift_is_found_with_its_sign(estimator) -> None:  # noqa: ANN001
    a, b = shifted_frames(2, 96, 128, step=(3, 2))
    forward, backward = flow_both_ways(estimator, a, b)
    inner = (slice(16, -16), slice(16, -16))
    assert np.abs(forward.flow[inner] - (-3, -2)).mean() < 0.25
    assert np.abs(backward.flow[inner] - (3, 2)).mean() < 0.25
    assert forward.valid[inner].mean() > 0.97


def test_consistency_follows_its_formula() -> None:
    forward = np.zeros((20, 30, 2), np.float32)
    forward[..., 0] = 4
    backward = -forward
    backward[:, 10:12] = 0
    valid = consistent(forward, backward)
    # The flow back is looked up 4 pixels to the right; 16 > 0.01 * 16 + 0.5 there.
    assert not valid[:, 6:8].any() and valid[:, :5].all() and valid[:, 9:26].all()
    assert not valid[:, 26:].any(), "the last four columns leave the image"
    off = backward + np.float32([0.7, 0])
    assert consistent(forward, off)[:, 14:20].all()
    assert not consistent(forward, off, relative=0, absolute=0.48)[:, 14:20].any()


def test_what_is_covered_is_not_consistent() -> None:
    back, square = texture(160, 224), texture(64, 64, seed=5)
    a, b = back.copy(), back.copy()
    a[50:114, 60:124] = square
    b[50:114, 68:132] = square
    forward, _ = flow_both_ways(DisFlow(), a, b)
    assert np.abs(forward.flow[60:104, 70:114] - (8, 0)).mean() < 0.5
    covered = forward.valid[58:106, 126:131].mean()
    assert covered < 0.3 and forward.valid[130:, :].mean() > 0.9


def test_flow_on_walk_is_within_the_target(shared_data: Path) -> None:
    scene = shared_data / "walk/training"

    def read(folder: str, k: int, mode: str) -> np.ndarray:
        return np.array(Image.open(scene / folder / f"walk_1/frame_{k:04d}.png").convert(mode))

    errors = []
    for k in (1, 15, 33):
        flow = DisFlow()(read("final", k, "RGB"), read("final", k + 1, "RGB"))
        error = np.linalg.norm(flow - read_flo(scene / f"flow/walk_1/frame_{k:04d}.flo"), axis=-1)
        errors.append(error[read("occlusions", k, "L") == 0].mean())
    assert np.mean(errors) < 0.25
