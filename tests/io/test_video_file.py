"""Videos that are written frame by frame, read back by the decoder of `dyn3d process`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.video_file import VideoWriter
from dyn3d_ns.video.frames.decode import Source
from tests.video.clips import shifted_frames


def write(path: Path, frames: list[np.ndarray], fps: float = 25) -> VideoWriter:
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], fps) as writer:
        for frame in frames:
            writer.write(frame)
    return writer


@pytest.mark.parametrize(("height", "width", "subsampled"), [(64, 96, 1), (63, 96, 0), (64, 95, 0)])
def test_size_count_rate_and_colours_survive(
    tmp_path: Path, height: int, width: int, subsampled: int
) -> None:
    frames = shifted_frames(7, height, width)
    frames[3][:] = (200, 30, 60)
    assert write(tmp_path / "a.mp4", frames, 24000 / 1001).subsampled == subsampled
    found = list(Source(tmp_path / "a.mp4").frames())
    assert [frame.image.shape for frame in found] == [(height, width, 3)] * 7
    assert found[6].seconds == pytest.approx(6 * 1001 / 24000, abs=1e-4)
    np.testing.assert_allclose(found[3].image[20, 20], (200, 30, 60), atol=3)
    # Colours are stored at half the size, brightness is not.
    brightness = (found[5].image.astype(float) - frames[5]) @ (0.2126, 0.7152, 0.0722)
    assert np.abs(brightness).mean() < 2.5
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_colour_space_is_named(tmp_path: Path) -> None:
    import av

    write(tmp_path / "a.mp4", shifted_frames(3))
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.colorspace), int(context.color_range)) == (1, 1)
        assert container.streams.video[0].average_rate == 25


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("before")
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 96, 64, 25) as writer:
        writer.write(shifted_frames(1)[0])
        raise KeyboardInterrupt
    assert (tmp_path / "a.mp4").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 96, 64, 25)
    with pytest.raises(ValueError, match="in a video of 96x64"), writer:
        writer.write(np.zeros((10, 10, 3), np.uint8))
    assert not list(tmp_path.iterdir())
