"""Masks of the user, and the files of the segmentation folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frame_matching import ClipFrames
from dyn3d_ns.video.masks.given import read_given
from dyn3d_ns.video.masks.pictures import SegmentationWriter, instance_colors, overlay


def write_codes(folder: Path, kind: str) -> None:
    """Write two masks with the objects 3 and 300 in one of the formats."""
    folder.mkdir()
    codes = np.zeros((6, 8), np.int32)
    codes[1:3, 1:4] = 3
    codes[4:, 5:] = 300 if kind not in ("binary", "palette") else 255
    for i in range(2):
        now = codes if i == 0 else np.where(codes == 3, 3, 0)
        if kind == "npy":
            np.save(folder / f"m{i}.npy", now)
        elif kind == "color":
            rgb = np.stack((now & 255, now >> 8, np.zeros_like(now)), axis=-1).astype(np.uint8)
            Image.fromarray(rgb).save(folder / f"m{i}.png")
        elif kind == "16 bits":
            Image.fromarray(now.astype(np.uint16)).save(folder / f"m{i}.png")
        else:
            image = Image.fromarray(now.astype(np.uint8))
            if kind == "palette":
                image.putpalette([v for k in range(256) for v in (k, 255 - k, 7)])
            image.save(folder / f"m{i}.png")


@pytest.mark.parametrize("kind", ["npy", "color", "16 bits", "palette", "binary"])
def test_formats_of_given_masks(tmp_path: Path, kind: str) -> None:
    write_codes(tmp_path / "masks", kind)
    frames, codes = read_given(tmp_path / "masks", ClipFrames.counted(2), 8, 6)
    first, second = list(frames)
    assert codes == [3, 300 if kind not in ("binary", "palette") else 255]
    assert first[2, 2] == 1
    assert first[5, 6] == 2
    assert first[0, 0] == 0
    assert second[2, 2] == 1, "ids hold through the clip, whatever a frame shows"
    assert second.max() == 1


def test_given_masks_take_the_size_of_the_frames(tmp_path: Path) -> None:
    write_codes(tmp_path / "masks", "npy")
    first, _ = read_given(tmp_path / "masks", ClipFrames.counted(2), 16, 12)[0]
    assert first.shape == (12, 16)
    assert (first == 1).sum() == 4 * 6


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "m1.npy").unlink(), "holds 1 masks, but the clip has 2 frames"),
        (lambda f: (f / "m1.npy").write_bytes(b"junk"), "m1.npy is not a readable array"),
        (lambda f: np.save(f / "m1.npy", np.zeros((2, 3, 4, 5))), r"m1.npy has the shape \(2, 3, 4, 5\)"),
        (lambda f: np.save(f / "m1.npy", np.full((6, 8), -1)), "negative ids"),
        (lambda f: np.save(f / "m1.npy", np.array([{"a": 1}], dtype=object)), "not a readable array"),
    ],
)
def test_damaged_masks_are_named(tmp_path: Path, break_it, message: str) -> None:
    write_codes(tmp_path / "masks", "npy")
    break_it(tmp_path / "masks")
    with pytest.raises(DatasetError, match=message):
        read_given(tmp_path / "masks", ClipFrames.counted(2), 8, 6)
    with pytest.raises(DatasetError, match="is not a folder"):
        read_given(tmp_path / "nothing", ClipFrames.counted(2), 8, 6)


def test_colours_are_distinct_and_stable() -> None:
    colors = instance_colors(40)
    assert colors[0].tolist() == [0, 0, 0]
    assert colors[1].tolist() == [0x8D, 0xD3, 0xC7], "Set3, as DynamicVerse paints"
    assert len(np.unique(colors, axis=0)) == 41
    assert (instance_colors(3) == colors[:4]).all()


def test_overlay_tints_objects_only() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [0, 0]], np.int32)
    tinted = overlay(image, labels, np.array([[0, 0, 0], [200, 0, 100]], np.uint8))
    assert tinted[0, 0].tolist() == [100, 100, 100]
    assert tinted[0, 1].tolist() == [160, 40, 100]


def test_the_segmentation_folder(tmp_path: Path) -> None:
    import cv2

    workspace = Workspace(tmp_path)
    labels = np.zeros((48, 64), np.int32)
    labels[10:20, 10:30] = 2
    with SegmentationWriter(workspace, ["a", "b"], fps=10) as writer:
        for i in range(3):
            writer.write(i, np.full((48, 64, 3), 90, np.uint8), labels)
    painted = np.array(Image.open(tmp_path / "segmentation/frames/masks/frame_00001.png"))
    assert painted[15, 15].tolist() == instance_colors(2)[2].tolist()
    assert painted[0, 0].tolist() == [0, 0, 0]
    twin = tmp_path / "qwen/Annotations/frame_00001.png"
    assert np.array_equal(np.array(Image.open(twin)), painted)
    summary = json.loads((tmp_path / "segmentation/result_summary.json").read_text())
    assert summary["total_frames"] == 3
    assert summary["instance_labels"] == {"1": "a", "2": "b"}
    for name in summary["output_structure"]["videos"].values():
        video = cv2.VideoCapture(str(tmp_path / "segmentation" / name))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3, name
    assert not list(tmp_path.rglob("*.partial.mp4"))


def test_an_interrupted_writer_leaves_no_video(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), SegmentationWriter(Workspace(tmp_path), [], fps=10) as writer:
        writer.write(0, np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.int32))
        raise KeyboardInterrupt
    assert not list(tmp_path.rglob("*.mp4"))
    assert not (tmp_path / "segmentation/instance_labels.json").exists()
