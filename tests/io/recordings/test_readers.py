"""Videos are decoded to the frame asked for, with the colours that were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recording_files import Rig

from dyn3d_ns.io.errors import DamagedFileError, ImageSizeError
from dyn3d_ns.io.recordings.readers import ImageFrames, VideoFrames


def test_a_video_from_any_frame_on(shared_data: Path) -> None:
    video = VideoFrames(shared_data / "table/cam03.mp4")
    assert (video.num_frames, video.fps, video.size) == (40, 30.0, (320, 240))
    whole = [decode() for decode in video.frames_from(0)]
    for start in (1, 17, 39):
        found = [decode() for decode in video.frames_from(start)]
        assert len(found) == 40 - start
        assert all(np.array_equal(a, b) for a, b in zip(found, whole[start:], strict=True))


def test_chroma_is_interpolated(shared_data: Path) -> None:
    """The fast conversion is 33 dB from what was encoded, and chroma placed to the left 35 dB."""
    folder = shared_data / "table/ground_truth/frames"
    errors, bias = [], []
    for i, decode in enumerate(VideoFrames(shared_data / "table/cam00.mp4").frames_from(0)):
        difference = decode().astype(float) - np.array(Image.open(folder / f"{i:04d}.png").convert("RGB"))
        errors.append(np.mean(difference**2))
        bias.append(difference.mean())
    assert 10 * np.log10(255**2 / np.mean(errors)) > 36.5
    assert abs(np.mean(bias)) < 0.2


def test_a_video_that_is_cut_short(tmp_path: Path) -> None:
    Rig(frames=40, size=(96, 64)).write_video(tmp_path / "v.mp4", 0)
    video = VideoFrames(tmp_path / "v.mp4")
    content = bytearray((tmp_path / "v.mp4").read_bytes())
    middle = content.index(b"mdat") + 4
    content[middle : middle + 2000] = bytes(2000)
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"v\.mp4 cannot be decoded on"):
        list(video.frames_from(0))


def test_images_of_several_sizes(tmp_path: Path) -> None:
    Rig().write_image(tmp_path / "0.png", 0, 0)
    Rig(size=(8, 8)).write_image(tmp_path / "1.png", 0, 1)
    frames = ImageFrames(tmp_path, lambda i: tmp_path / f"{i}.png", 2)
    with pytest.raises(ImageSizeError, match=r"1\.png is 8x8, the camera's first frame 48x32"):
        [decode() for decode in frames.frames_from(1)]


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    rig = Rig(frames=2)
    rig.write_video(tmp_path / "v.mp4", 0)
    first = VideoFrames(tmp_path / "v.mp4").stamp(1)
    assert VideoFrames(tmp_path / "v.mp4").stamp(0) == first
    rig.write_video(tmp_path / "v.mp4", 1)
    assert VideoFrames(tmp_path / "v.mp4").stamp(1) != first
