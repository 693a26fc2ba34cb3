"""Which files of a folder are the frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.series import picture_series


def fill(folder: Path, names: list[str], mode: str = "RGB") -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).convert(mode).save(folder / name)


def numbered(*names: str, count: int = 4) -> list[str]:
    return [name.format(i) for name in names for i in range(count)]


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        (
            numbered("rgba_{:05d}.png"),
            numbered("depth_{:05d}.tiff", "normal_{:05d}.png", "segmentation_{}.png"),
        ),
        (numbered("{:05d}.png"), numbered("{:05d}_mask.png")),
        (numbered("walk{}.jpg"), numbered("walk{}-objectMask.png", "walk{}_depth.png", "walk{}.thumb.jpg")),
        (numbered("color_{}.png"), numbered("walk_{}.png")),
        (numbered("a{}.png", count=9), numbered("b{}.png", count=4)),
        (numbered("DSC{:04d}.png"), ["cover.png", "DSC0001 copy.png", "thumb.jpg"]),
        (
            numbered("rgb{}.png"),
            numbered(*(f"{k}{{}}.png" for k in ("depth", "flow", "uv", "id", "ao", "vis"))),
        ),
    ],
)
def test_the_series_of_pictures_is_taken_and_others_are_told(
    tmp_path: Path, taken: list[str], left: list[str]
) -> None:
    fill(tmp_path, [*left, *taken])
    found = picture_series(tmp_path)
    assert [p.name for p in found.images] == taken
    assert found.note is not None
    assert f"{taken[0]} … ({len(taken)}) is taken" in found.note
    assert sum(name in found.note for name in left) >= 1


def test_colour_tells_images_from_masks_of_the_same_names(tmp_path: Path) -> None:
    fill(tmp_path, numbered("{}.jpg"))
    fill(tmp_path, numbered("{}.png"), "P")
    assert [p.suffix for p in picture_series(tmp_path).images] == [".jpg"] * 4


@pytest.mark.parametrize(
    "names",
    [
        ["f1.png", "f2.png", "f10.png"],
        ["a.png", "b.png", "c.png"],
        ["2024-05-01_10-00-59.png", "2024-05-01_10-01-00.png", "2024-05-02_10-00-00.png"],
        ["1305031240.013.png", "1305031240.113.png", "1305031241.013.png"],
        ["a3f9.png", "d41d.png", "0f7b.png", "cc1e.png"],
        ["a0.jpg", "a1.png", "a2.jpeg", "a3.PNG"],
        numbered("depth_{}.png"),
        numbered("cam3_{}.png"),
        numbered("cam{}.png"),
    ],
)
def test_one_series_is_taken_whole(tmp_path: Path, names: list[str]) -> None:
    fill(tmp_path, list(reversed(names)))
    found = picture_series(tmp_path)
    assert [p.name for p in found.images] == sorted(names) if names[0] != "f1.png" else names
    odd = "a3f9.png" in names
    assert (found.note is not None and "follow no pattern" in found.note) if odd else found.note is None


@pytest.mark.parametrize(
    "names",
    [
        numbered("left_{}.png", "right_{}.png"),
        numbered("cam0_{:04d}.png", "cam1_{:04d}.png"),
        numbered("{:04d}_cam0.png", "{:04d}_cam1.png"),
        numbered("depth_{}.png", "normal_{}.png"),
    ],
)
def test_where_it_is_not_plain_somebody_has_to_choose(tmp_path: Path, names: list[str]) -> None:
    fill(tmp_path, names)
    with pytest.raises(DatasetError, match=r"several series of images: .*, .*folder of their own"):
        picture_series(tmp_path)


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    fill(tmp_path, ["f0.png", "f1.png"])
    for name in ("._f0.png", "._f1.png", ".DS_Store", "f0.json"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    found = picture_series(tmp_path)
    assert [p.name for p in found.images] == ["f0.png", "f1.png"]
    assert found.note is None
