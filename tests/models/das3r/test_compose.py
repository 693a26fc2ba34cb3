"""Composition of recorded frames and a static scene, on pictures of which every answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.models.das3r.compose import (
    Composed,
    ComposeSettings,
    agreement,
    compose,
    feathered,
    fill,
    lay_over,
    lowpass_difference,
    smoothstep,
)
from tests.video.clips import texture

H, W = 80, 100
SETTINGS = ComposeSettings()
MOVER = (slice(20, 50), slice(30, 60))


def picture(seed: int = 0) -> np.ndarray:
    return texture(H, W, seed).astype(np.float32) / 255


def mask(where: tuple[slice, slice], value: float = 1.0) -> np.ndarray:
    found = np.zeros((H, W), np.float32)
    found[where] = value
    return found


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the clean picture, a recording with a green mover and sensor noise, and the mask of rest."""
    clean = picture()
    recorded = clean + np.random.default_rng(0).normal(0, 0.004, clean.shape).astype(np.float32)
    recorded[MOVER] = (0.1, 0.9, 0.1)
    return clean, recorded, 1 - mask((slice(18, 52), slice(28, 62)))


ALL = np.ones((H, W), bool)


def test_what_rests_is_the_recording_and_what_moves_the_rendering(scene) -> None:
    clean, recorded, static = scene
    found = compose(recorded, clean, static, ALL, SETTINGS)
    np.testing.assert_array_equal(found.image[static == 0], clean[static == 0])
    far = np.ones((H, W), bool)
    far[14:56, 24:66] = False
    np.testing.assert_allclose(found.image[far], np.clip(recorded, 0, 1)[far], atol=1e-6)
    assert not found.filled.any()


def test_a_blurred_rendering_does_not_replace_sharp_recordings(scene) -> None:
    import cv2

    clean, recorded, static = scene
    found = compose(recorded, cv2.GaussianBlur(clean, (0, 0), 1.0), static, ALL, SETTINGS)
    assert np.median(found.kept[static > 0]) == 1


def test_a_map_that_is_not_quite_sure_mixes_nothing(scene) -> None:
    clean, recorded, static = scene
    found = compose(recorded, clean, 0.1 + 0.8 * static, ALL, SETTINGS)
    assert set(np.unique(found.kept[:10])) == {1.0} and found.kept[30, 45] == 0


def test_a_shadow_that_no_mask_covers_goes(scene) -> None:
    clean, recorded, static = scene
    shadow = (slice(60, 76), slice(40, 80))
    recorded[shadow] *= 0.7
    found = compose(recorded, clean, static, ALL, SETTINGS)
    inner = (slice(63, 73), slice(43, 77))
    np.testing.assert_allclose(found.image[inner], clean[inner], atol=0.02)


def test_rendering_everything(scene) -> None:
    clean, recorded, static = scene
    found = compose(recorded, clean, static, ALL, SETTINGS, everything=True)
    np.testing.assert_array_equal(found.image, clean)


def test_what_no_frame_saw_is_filled_from_around_and_marked(scene) -> None:
    _, recorded, static = scene
    flat = np.full((H, W, 3), 0.5, np.float32)
    recorded = np.where(static[..., None] > 0, flat, recorded)
    render, known = flat.copy(), ALL.copy()
    hole = (slice(30, 40), slice(40, 50))
    render[hole], known[hole] = (1, 0, 1), False
    found = compose(recorded, render, static, known, SETTINGS)
    np.testing.assert_allclose(found.image, flat, atol=0.01)
    np.testing.assert_array_equal(found.filled, ~known)


def test_recorded_pixels_need_no_witness(scene) -> None:
    clean, recorded, static = scene
    found = compose(recorded, clean, static, static == 0, SETTINGS)
    assert not found.filled[:10].any() and not found.filled[static == 0].any()


def test_lone_pixels_without_a_witness_are_rounding(scene) -> None:
    clean, recorded, static = scene
    known = ALL.copy()
    known[30, 40] = known[40, 50] = False
    assert not compose(recorded, clean, static, known, SETTINGS).filled.any()


def test_averages_do_not_reach_out_of_masks() -> None:
    clean, static = picture(), 1 - mask(MOVER)
    recorded = clean.copy()
    recorded[MOVER] = 1.0
    assert lowpass_difference(recorded, clean, static, 3)[static > 0].max() < 1e-5
    assert lowpass_difference(recorded, clean, np.ones_like(static), 3)[18, 45] > 0.05


def test_the_threshold_follows_the_scale_of_static_pixels() -> None:
    static = 1 - mask(MOVER)
    noise = np.abs(np.random.default_rng(0).normal(0, 0.05, (H, W))).astype(np.float32)
    noise[0, 0], noise[0, 1] = 0.08, 0.9
    kept = agreement(noise, static, SETTINGS)
    assert kept[0, 0] == 1 and kept[0, 1] == 0 and kept[static > 0].mean() > 0.99
    quiet = np.zeros((H, W), np.float32)
    quiet[0, 0], quiet[0, 1] = 3.9 / 255, 8.1 / 255
    assert agreement(quiet, static, SETTINGS)[0, :2].tolist() == [1, 0]


def test_smoothstep() -> None:
    np.testing.assert_allclose(smoothstep(np.float32([0, 1, 2, 3, 9]), 1, 3), [0, 0, 0.5, 1, 1])


def test_a_feather_goes_inwards_only() -> None:
    weight = 1 - mask(MOVER)
    soft = feathered(weight, 3)
    assert (soft[weight == 0] == 0).all() and soft[10, 10] == 1
    edge = soft[35, 20:30]
    assert (np.diff(edge) <= 0).all() and 0 < edge[-2] < 1
    np.testing.assert_array_equal(feathered(weight, 0), weight)


@pytest.mark.parametrize("size", [(40, 50), (400, 600)])
def test_filling_continues_the_surroundings_at_any_size(size: tuple[int, int]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, size[1])[None, :, None], (*size, 3)).astype(np.float32)
    holes = np.zeros(size, bool)
    holes[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = True
    wrong = np.where(holes[..., None], np.float32(0), ramp)
    found = fill(wrong, holes)
    np.testing.assert_array_equal(found[~holes], ramp[~holes])
    assert np.abs(found - ramp)[holes].max() < 0.3 and np.abs(found - ramp)[holes].mean() < 0.12


def test_filling_an_image_that_is_all_hole_or_has_none() -> None:
    image = picture()
    found = fill(image, np.ones((H, W), bool))
    np.testing.assert_allclose(found[3, 4], image.mean((0, 1)), atol=1e-5)
    assert fill(image, np.zeros((H, W), bool)) is image


def test_objects_lie_over_everything() -> None:
    below = Composed(np.zeros((H, W, 3), np.float32), np.ones((H, W), bool), np.zeros((H, W), np.float32))
    found = lay_over(below, np.ones((H, W, 3), np.float32), mask(MOVER) > 0)
    assert found.image[35, 45, 0] == 1 and found.image[0, 0, 0] == 0
    assert not found.filled[35, 45] and found.filled[0, 0]
