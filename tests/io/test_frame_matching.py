"""Entries of other tools find their frames by name, by number, by time, or not at all."""

import numpy as np
import pytest

from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.frame_matching import ClipFrames, Labels, match_frames, numbers_in, stem_of

COUNT = 14
OWN = tuple(f"{i:05d}.png" for i in range(COUNT))
VIDEO = ClipFrames(np.arange(COUNT), (), OWN, "clip.mp4", np.arange(COUNT) / 24)
"""A video of 24 frames a second."""


def folder(names: list[str]) -> ClipFrames:
    return ClipFrames(
        np.arange(len(names)), tuple(names), OWN[: len(names)], "in", np.arange(len(names)) / 24
    )


def named(names: list[str]) -> Labels:
    return Labels(len(names), tuple(names))


def stamped(numbers) -> Labels:
    values = np.asarray(numbers, dtype=np.float64)
    return Labels(len(values), (), values)


def rows(frames: ClipFrames, labels: Labels) -> list[int]:
    return match_frames(frames, labels, "poses.txt", "poses").rows.tolist()


def note(frames: ClipFrames, labels: Labels) -> str:
    return match_frames(frames, labels, "poses.txt", "poses").note


ALL = list(range(COUNT))
TEXT_ORDER = sorted(range(COUNT), key=lambda i: f"f{i + 1}.png")
"""Where COLMAP and `sorted` put f1 … f14: f1, f10, f11, …"""


@pytest.mark.parametrize(
    "called",
    [
        "f{}.png",
        "f{}.jpg",
        "f{}.JPG.png",
        "cam0/rgb/f{}.jpeg",
        "cam0\\f{}.png",
        "depth_{:05d}.npy",
        "f{}_mask.png",
        "2024_f{:03d}_v2.png",
    ],
)
def test_names_of_other_folders_and_endings(called: str) -> None:
    frames = folder([f"f{i + 1}.png" for i in range(COUNT)])
    labels = named([called.format(i + 1) for i in TEXT_ORDER])
    found = rows(frames, labels)
    assert [TEXT_ORDER[row] for row in found] == ALL
    assert note(frames, labels) == ""


def test_more_names_than_frames() -> None:
    frames = folder([f"f{i}.png" for i in range(3, 30, 3)])
    labels = named([f"f{i}.png" for i in range(40)])
    assert rows(frames, labels) == list(range(3, 30, 3))
    assert note(frames, labels) == "40 poses are given for 9 frames: theirs are taken, by name"


def test_a_camera_of_several_is_told_by_its_folder() -> None:
    frames = folder(["f0.png", "f1.png"])
    labels = named(["left/f0.png", "left/f1.png", "in/f0.png", "in/f1.png"])
    assert rows(frames, labels) == [2, 3]
    with pytest.raises(DatasetError, match=r"both left/f0.png and right/f0.png.* the folder of one camera"):
        rows(frames, named(["left/f0.png", "left/f1.png", "right/f0.png", "right/f1.png"]))


def test_a_few_frames_may_lack_one_and_it_is_told() -> None:
    names = [f"f{i}.png" for i in range(COUNT)]
    labels = named([n for n in names if n not in ("f3.png", "f13.png")])
    found = rows(folder(names), labels)
    assert found[3] == found[13] == -1 and found[4] == 3 and found[12] == 11
    assert note(folder(names), labels) == "2 of 14 frames have none of the poses (f3.png, f13.png)"
    with pytest.raises(DatasetError, match=r"8 have none, by name \(f6.png, f7.png, f8.png, …"):
        rows(folder(names), named(names[:6]))


def test_names_that_agree_for_some_frames_only_are_no_order() -> None:
    frames = folder([f"f{i + 1}.png" for i in range(COUNT)])
    with pytest.raises(DatasetError, match="4 have none, by name"):
        rows(frames, named([f"f{i + 5}.png" for i in range(COUNT)]))
    with pytest.raises(DatasetError, match="neither names nor numbers tell"):
        rows(frames, named([f"image{i + 5}.png" for i in range(COUNT)]))
    # Frames are renamed from 1 to 0 or the first was lost: nobody knows.
    with pytest.raises(DatasetError, match="1 have none, by name"):
        rows(frames, named([f"f{i}.png" for i in range(COUNT)]))


@pytest.mark.parametrize("first", [0, 1])
def test_frames_that_were_taken_out_of_a_video(first: int) -> None:
    labels = named([f"frame_{i + first:04d}.png" for i in range(COUNT)])
    assert rows(VIDEO, labels) == ALL
    assert ("counted from 1" in note(VIDEO, labels)) == bool(first)
    thinned = ClipFrames(np.arange(0, COUNT, 3), (), OWN[:5], "clip.mp4", np.arange(0, COUNT, 3) / 24)
    assert rows(thinned, labels) == [0, 3, 6, 9, 12]
    assert rows(thinned, stamped(np.arange(COUNT) + first)) == [0, 3, 6, 9, 12]


def test_one_that_is_missing_tells_where_a_video_is_counted_from_if_the_last_does() -> None:
    assert rows(VIDEO, stamped([i + 1 for i in ALL if i != 5])) == [0, 1, 2, 3, 4, -1, *range(5, 13)]
    for labels in (stamped(ALL[1:]), named(list(OWN[1:]))):
        with pytest.raises(DatasetError, match="may be those of the clip's frames by .* or by number"):
            rows(VIDEO, labels)
    with pytest.raises(DatasetError, match=r"7 have none, by number, counted from 0 \(frame 1, frame 3, "):
        rows(VIDEO, stamped(ALL[::2]))
    seconds = np.arange(2, COUNT) / 24
    assert rows(VIDEO, stamped(seconds)) == [-1, -1, *range(12)]


def test_poses_of_the_clips_own_frames() -> None:
    thinned = ClipFrames(np.arange(0, 70, 5), (), OWN, "clip.mp4", np.arange(0, 70, 5) / 24)
    assert rows(thinned, named(list(OWN))) == ALL
    # With one more they are those of the video, of which this is every fifth frame.
    assert rows(thinned, named([f"{i:05d}.png" for i in range(70)])) == list(range(0, 70, 5))
    # Frames that were renamed before the clip was made of them keep their order here.
    assert rows(folder([f"f{i + 1}.png" for i in range(COUNT)]), named(list(OWN))) == ALL


@pytest.mark.parametrize("called", ["f{:d}.png", "{:d}.jpg"])
def test_other_numbers_go_by_order_if_there_are_as_many(called: str) -> None:
    for numbers in (range(100, 100 + COUNT), range(1000, 1000 + 5 * COUNT, 5)):
        labels = named([called.format(n) for n in numbers])
        assert rows(VIDEO, labels) == ALL
        assert "in their order: their names" in note(VIDEO, labels)
        with pytest.raises(DatasetError, match="13 poses, but the clip has 14 frames"):
            rows(VIDEO, named(list(labels.names[:-1])))


@pytest.mark.parametrize(
    ("start", "unit"), [(0.0, 1.0), (1.3e9 + 0.25, 1.0), (0.0, 1e9), (1.4e18, 1e9), (0.0, 1e3)]
)
def test_time_stamps(start: float, unit: float) -> None:
    # A tracker at four times the rate, with a little noise of its clock.
    seconds = np.arange(4 * COUNT) / 96 + np.random.default_rng(0).uniform(0, 1e-3, 4 * COUNT)
    assert rows(VIDEO, stamped(start + unit * (seconds - seconds[0]))) == list(range(0, 4 * COUNT, 4))


def test_time_stamps_in_names() -> None:
    seconds = 1305031102.175304 + np.arange(COUNT) / 30
    frames = folder([f"{t:.6f}.png" for t in seconds])
    assert rows(frames, stamped(seconds[::-1])) == ALL[::-1]
    assert rows(frames, stamped(np.concatenate([[seconds[0] - 5], seconds]))) == [i + 1 for i in ALL]
    nanoseconds = folder([f"{1403636579763555584 + 50_000_000 * i}.png" for i in range(COUNT)])
    assert rows(nanoseconds, stamped(1403636579.763555584 + 0.05 * np.arange(COUNT))) == ALL


def test_rows_without_names_are_those_of_the_frames_or_of_all_frames() -> None:
    assert rows(VIDEO, Labels(COUNT)) == ALL
    assert "neither names nor numbers" in note(VIDEO, Labels(COUNT))
    thinned = ClipFrames(np.arange(0, COUNT, 3))
    assert rows(thinned, Labels(COUNT)) == [0, 3, 6, 9, 12]
    with pytest.raises(DatasetError, match="without names"):
        rows(VIDEO, Labels(9))


def test_the_number_in_a_name() -> None:
    assert numbers_in(["left_0007_depth16.png", "left_0010_depth16.png"]) == [7, 10]
    assert numbers_in(["a1_2.png", "a2_2.png", "a3_4.png"]) == [1, 2, 3]
    assert numbers_in(["a1.png", "b1.png"]) is None
    assert numbers_in(["a.png", "b.png"]) is None
    assert stem_of("masks/F1.jpg.png") == "f1" and stem_of("a.0001.npy") == "a.0001"
