"""The page of `dyn3d play`: what it draws at any frame, of a stream that grows, and of a damaged one."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.gaussians.lattice import Lattice
from dyn3d_ns.geometry.cameras import flip_axes
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.header import StreamHeader, write_header
from dyn3d_ns.viewer import stream_page
from dyn3d_ns.viewer.painter import View
from dyn3d_ns.viewer.stream_page import StreamPage
from tests.gaussian_stream import BACKGROUND_COLOR, CAMERA_AT_START, BallStream, ball_at

HEIGHT = 80
VIEW = View(flip_axes(CAMERA_AT_START.pose), 2 * math.atan(0.4), 1.5)
"""What the start camera sees."""


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], StreamPage]]:
    """Return a function that serves a stream until the test ends; it looks for frames when it is told to."""
    monkeypatch.setattr(stream_page, "LOOK_EVERY", 3600.0)
    pages: list[StreamPage] = []

    def start(folder: Path) -> StreamPage:
        pages.append(StreamPage(folder, port=7240))
        return pages[-1]

    yield start
    for page in pages:
        page.stop()


@pytest.fixture
def stream(tmp_path: Path) -> BallStream:
    """A whole stream of twelve frames with keys 5 and 10."""
    return BallStream(tmp_path / "stream").grow(12)


def red_column(page: StreamPage) -> float:
    """Return where the ball is in the picture of the time that the page shows, columns of VIEW."""
    picture = page.draw(VIEW, HEIGHT)
    assert picture is not None and picture.shape == (80, 120, 3)
    red = np.clip(picture[..., 0].astype(float) - picture[..., 1] - picture[..., 2], 0, None)
    return float((red.sum(0) * (np.arange(120) + 0.5)).sum() / red.sum())


def column_of(frame: float) -> float:
    """Return where the ball's centre is projected to: focal length 100, distance 4."""
    return 60 + 100 * (ball_at(0)[0] + frame * (ball_at(1) - ball_at(0))[0]) / 4


def frame_time(frame: float) -> float:
    return frame / 11


def test_every_frame_forwards_and_backwards(
    stream: BallStream, open_page: Callable[[Path], StreamPage]
) -> None:
    page = open_page(stream.folder)
    forwards = []
    for frame in range(12):
        page.seek(frame_time(frame))
        assert red_column(page) == pytest.approx(column_of(frame), abs=0.4)
        forwards.append(page.draw(VIEW, HEIGHT))
    for frame in reversed(range(12)):
        page.seek(frame_time(frame))
        assert np.array_equal(page.draw(VIEW, HEIGHT), forwards[frame])
    page.seek(frame_time(3.5))
    assert red_column(page) == pytest.approx(column_of(3.5), abs=0.4), "on its way between two frames"


def test_the_colour_behind_and_the_start_view(
    stream: BallStream, open_page: Callable[[Path], StreamPage]
) -> None:
    page = open_page(stream.folder)
    picture = page.draw(VIEW, HEIGHT)
    assert picture is not None
    assert np.array_equal(picture[0, 0], np.array(BACKGROUND_COLOR) * 255)
    assert np.array_equal(page._start.pose, CAMERA_AT_START.pose)
    assert 3.9 < page._distance < 4.1, "turning goes about what is seen"


def test_a_header_without_a_camera_gets_a_view_of_all(
    tmp_path: Path, open_page: Callable[[Path], StreamPage]
) -> None:
    page = open_page(BallStream(tmp_path / "stream", camera=False).folder)
    view = View(flip_axes(page._start.pose), 1.0, 1.5)
    picture = page.draw(view, 60)
    assert picture is not None
    assert (picture[..., 0] > 128).any() and (picture[..., 2] > 128).any(), "both balls are seen"


def test_a_growing_stream_is_followed(tmp_path: Path, open_page: Callable[[Path], StreamPage]) -> None:
    stream = BallStream(tmp_path / "stream").grow(2)
    page = open_page(stream.folder)
    assert page.timeline.num_frames == 2 and page._size.content.startswith("2 of 12")
    stream.grow(4)
    page.look()
    assert page.timeline.num_frames == 4 and page.time == 0, "nobody asked to follow"
    page.follow()
    assert red_column(page) == pytest.approx(column_of(3), abs=0.4)
    stream.grow(7)
    page.look()
    assert page.time == pytest.approx(frame_time(6)) and page._follow.value
    assert red_column(page) == pytest.approx(column_of(6), abs=0.4)
    page.step(-1)
    assert not page._follow.value, "who goes elsewhere stays there"
    stream.grow(12)
    page.look()
    assert page.timeline.num_frames == 12 and page.time == pytest.approx(frame_time(5))


def test_a_stream_that_starts_anew_with_other_steps(
    tmp_path: Path, open_page: Callable[[Path], StreamPage]
) -> None:
    stream = BallStream(tmp_path / "stream").grow(9)
    page = open_page(stream.folder)
    page.seek(frame_time(8))
    shutil.rmtree(stream.folder)
    page.look()
    assert "stream.json" in page._size.content, "the page says that it is gone"
    BallStream(tmp_path / "stream", planned=6).grow(3)
    page.look()
    assert page.timeline.num_frames == 3 and page.time == pytest.approx(0.4), "the last frame there is"
    assert red_column(page) == pytest.approx(column_of(2), abs=0.4)


def test_damage_is_told_and_what_is_before_plays(
    stream: BallStream, open_page: Callable[[Path], StreamPage]
) -> None:
    stream.damage(7)
    page = open_page(stream.folder)
    page.seek(frame_time(9))
    assert red_column(page) == pytest.approx(column_of(6), abs=0.4)
    assert page._problem.visible and "frame 6" in page._problem.content
    assert "000007.delta: frame 7 is damaged" in page._problem.content
    page.seek(frame_time(4))
    assert red_column(page) == pytest.approx(column_of(4), abs=0.4) and not page._problem.visible
    page.seek(frame_time(11))
    assert red_column(page) == pytest.approx(column_of(11), abs=0.4), "the next key makes it good"
    assert not page._problem.visible


def test_a_first_frame_that_is_damaged_is_told(
    stream: BallStream, open_page: Callable[[Path], StreamPage]
) -> None:
    stream.damage(0, "init")
    page = open_page(stream.folder)
    assert page.draw(VIEW, HEIGHT) is None
    assert "000000.init: frame 0 is damaged" in page._problem.content


def test_a_gap_ends_what_can_be_played(stream: BallStream, open_page: Callable[[Path], StreamPage]) -> None:
    (stream.folder / "000007.delta").unlink()
    page = open_page(stream.folder)
    assert page.timeline.num_frames == 7
    assert "Frame 7 is missing, so 000008.delta" in page._size.content


@pytest.mark.parametrize(
    ("kind", "decoder", "said"),
    [
        ("voxels", {}, "a stream of voxels; `dyn3d play` shows gaussians only"),
        ("gaussians", Lattice(8).to_header() | {"background": "red"}, "3 numbers as 'background'"),
        ("gaussians", Lattice(8).to_header() | {"camera": "1 2 3"}, "18 numbers as 'camera'"),
        ("gaussians", Lattice(8).to_header() | {"camera": " ".join("1" * 18)}, "no rigid transform"),
        ("gaussians", {}, "does not state its steps"),
    ],
)
def test_a_stream_that_cannot_be_shown_is_one_sentence(
    tmp_path: Path, kind: str, decoder: dict[str, int | str], said: str
) -> None:
    tmp_path.mkdir(exist_ok=True)
    write_header(tmp_path, StreamHeader(kind, 25.0, (0.0, 1.0), decoder))
    with pytest.raises(UserError, match=re.escape(said)):
        StreamPage(tmp_path, port=7240)
