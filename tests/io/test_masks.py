"""Ids stay ids, masks with soft edges are one object: decided from all files of a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.masks import MaskFiles

COLORS = np.array([[0, 0, 0], [220, 20, 20], [20, 200, 20]], np.uint8)
Make = Callable[[int], np.ndarray]


def disk(i: int, value: int = 255) -> np.ndarray:
    image = np.zeros((96, 128), np.uint8)
    cv2.circle(image, (24 + 6 * i, 48), 14, value, -1)
    return image


def two(i: int, a: int, b: int) -> np.ndarray:
    image = disk(i, a)
    cv2.circle(image, (100 - 3 * i, 24), 10, b, -1)
    return image


def soft(image: np.ndarray, size: int = 5) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(image, (size, size), 0))


def cutout(i: int) -> np.ndarray:
    """A picture of few colours whose background is transparent."""
    colors = np.random.default_rng(i).integers(100, 104, (96, 128, 3), dtype=np.uint8)
    return np.dstack((colors, disk(i)))


def write(folder: Path, make: Make, ending: str = "png", count: int = 4, **options: int) -> MaskFiles:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        values = make(i)
        if ending == "npy":
            np.save(folder / f"{i}.npy", values)
        else:
            Image.fromarray(values).save(folder / f"{i}.{ending}", **options)
    return MaskFiles([folder / f"{i}.{ending}" for i in range(count)])


def twice_as_large(image: np.ndarray) -> np.ndarray:
    half = cv2.resize(image, (64, 48), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.resize(half, (128, 96), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize(
    ("make", "ending", "limit"),
    [
        (lambda i: soft(disk(i)), "png", 16),
        (lambda i: soft(disk(i), 31), "png", 90),
        (lambda i: twice_as_large(disk(i)), "png", 60),
        (lambda i: soft(disk(i)).astype(np.uint16) * 257, "png", 16),
        (lambda i: np.repeat(soft(disk(i))[..., None], 3, -1), "png", 16),
        (lambda i: np.dstack((np.full((96, 128, 3), 255, np.uint8), soft(disk(i)))), "png", 16),
        (lambda i: soft(disk(i)).astype(np.float32) / 255, "npy", 16),
        (disk, "jpg", 16),
        (lambda i: np.repeat(disk(i)[..., None], 3, -1), "jpg", 16),
    ],
)
def test_a_soft_mask_is_one_object_cut_at_half(tmp_path: Path, make: Make, ending: str, limit: int) -> None:
    masks = write(tmp_path / "m", make, ending)
    assert masks.kind == "soft"
    assert len(masks.codes) == 1
    assert "cut at half" in (masks.note or "")
    for i in range(4):
        assert np.logical_xor(masks.ids(i) > 0, disk(i) > 0).sum() <= limit
        assert np.logical_xor(masks.on(i), disk(i) > 0).sum() <= limit


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (lambda i: two(i, 1, 2), [1, 2]),
        (lambda i: two(i, 100, 255), [100, 255]),
        (lambda i: two(i, 1, 2).astype(np.uint16) * 300, [300, 600]),
        (lambda i: cv2.line(disk(i), (0, 0), (127, 60), 128, 1), [128, 255]),
        (lambda i: cv2.line(disk(i, 1), (0, 0), (127, 60), 2, 1), [1, 2]),
        (lambda i: np.maximum(two(i, 1, 2), cv2.Canny(two(i, 90, 180), 10, 20)), [1, 2, 255]),
        (lambda i: disk(i, 1) > 0, [1]),
        (lambda i: disk(i) * (i < 2), [255]),
        (lambda i: COLORS[two(i, 1, 2)], [220 + 256 * 20 + 65536 * 20, 20 + 256 * 200 + 65536 * 20]),
    ],
)
def test_ids_stay_ids(tmp_path: Path, make: Make, codes: list[int]) -> None:
    masks = write(tmp_path / "m", make)
    assert (masks.kind, masks.codes, masks.note) == ("ids", sorted(codes), None)


def test_a_palette_is_ids_whatever_its_colours(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    image = Image.fromarray(two(0, 1, 200))
    image.putpalette([v for k in range(256) for v in (k // 2, 0, 0)])
    image.save(tmp_path / "m/0.png")
    masks = MaskFiles([tmp_path / "m/0.png"])
    assert (masks.kind, masks.codes) == ("ids", [1, 200])
    assert np.array_equal(masks.on(0), two(0, 1, 200) > 0)


def test_a_palette_of_black_and_white_is_these(tmp_path: Path) -> None:
    """Programs that reduce colours number them as they please; here black is 1."""
    (tmp_path / "m").mkdir()
    image = Image.fromarray((disk(0) == 0).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "m/0.png")
    masks = MaskFiles([tmp_path / "m/0.png"])
    assert np.array_equal(masks.ids(0), disk(0)) and np.array_equal(masks.on(0), disk(0) > 0)


def test_masks_that_mark_nearly_all_are_told(tmp_path: Path) -> None:
    assert "mark 95% of the pixels as moving" in (write(tmp_path / "m", lambda i: 255 - disk(i)).note or "")


def test_objects_whose_colours_run_into_each_other(tmp_path: Path) -> None:
    for k, make in enumerate((lambda i: COLORS[two(i, 1, 2)], lambda i: two(i, 100, 255))):
        masks = write(tmp_path / f"{k}", lambda i, make=make: soft(make(i)))
        assert (masks.kind, len(masks.codes)) == ("edges", 2)
        first, second = masks.codes
        expected = two(1, 1, 2)
        wrong = (masks.ids(1) == first) != (expected == 1), (masks.ids(1) == second) != (expected == 2)
        assert max(w.sum() for w in wrong) <= 24, "no rim of the one around the other"


def test_what_an_empty_frame_holds_is_told_by_the_others(tmp_path: Path) -> None:
    """Noise of a frame without the object is no object: only the other files show what is white."""
    noise = np.random.default_rng(0).integers(0, 4, (96, 128)).astype(np.uint8)
    masks = write(tmp_path / "m", lambda i: noise if i == 2 else np.maximum(soft(disk(i)), noise))
    assert masks.kind == "soft"
    assert not masks.ids(2).any()
    assert not masks.on(2).any()
    alone = write(tmp_path / "ids", lambda i: disk(i, 3))
    assert np.array_equal(alone.on(2), disk(2) > 0), "0 and 3 alone are ids"


@pytest.mark.parametrize(
    ("make", "ending", "message"),
    [
        (lambda i: two(i, 100, 255), "jpg", "JPEG does not keep ids"),
        (lambda i: COLORS[two(i, 1, 2)], "jpg", "JPEG does not keep ids"),
        (
            lambda i: np.random.default_rng(i).integers(0, 255, (96, 128, 3)).astype(np.uint8),
            "png",
            "so no masks",
        ),
        (cutout, "png", "as pictures do, so no masks"),
        (lambda i: disk(i) - 300.5, "npy", "fractions beyond"),
        (lambda i: np.full((4, 4), np.nan), "npy", "not finite"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, make: Make, ending: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        _ = write(tmp_path / "m", make, ending).codes
