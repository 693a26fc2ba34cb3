"""The page of `dyn3d play`: what it draws at any frame, of a stream that grows, and of a damaged one."""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.gaussians.lattice import Lattice
from dyn3d_ns.geometry.cameras import flip_axes
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.header import StreamHeader, write_header
from dyn3d_ns.viewer import stream_page
from dyn3d_ns.viewer.painter import View
from dyn3d_ns.viewer.stream_page import StreamPage
from tests.gaussian_stream import BACKGROUND_COLOR, CAMERA_AT_START, BallStream, ball_at

PICTURE = {"x": 0, "y": 0, "width": 420, "height": 530}
"""What lies left of the panel and above the drawn axes."""
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
    assert "000007.delta is not there" in page._size.content


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


def red_in_page(opened: Any) -> float | None:
    """Return where the ball is in a browser's page, pixels from the left; None where it is not."""
    png = opened.page.screenshot(clip=PICTURE)
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float64)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 100) & (picture[..., 2] < 100)
    return float(np.nonzero(red)[1].mean()) if red.sum() > 50 else None


def shows_frame(opened: Any, frame: int) -> Callable[[], bool]:
    """Return whether a page of 780 x 600 pixels, as wide as what the start camera sees, shows a frame."""
    wanted = column_of(frame) * 780 / 120

    def condition() -> bool:
        found = red_in_page(opened)
        return found is not None and abs(found - wanted) < 8

    return condition


@pytest.mark.slow
@pytest.mark.long
def test_in_two_browsers(tmp_path: Path, page, viewer_page_type) -> None:
    """Seek, scrub backwards, follow a stream that grows, play; another browser looks on and leaves."""
    stream = BallStream(tmp_path / "stream").grow(4)
    served = StreamPage(stream.folder, port=7241)
    other_context = page.context.browser.new_context(viewport={"width": 780, "height": 600})
    try:
        other = viewer_page_type.__new__(viewer_page_type)
        opened = viewer_page_type.__new__(viewer_page_type)
        opened.page, other.page = page, other_context.new_page()
        for each in (opened, other):
            each.page.goto(f"http://127.0.0.1:{served.server.get_port()}")
            each.page.get_by_text("Time playback").wait_for()
            each.wait_until(shows_frame(each, 0), "frame 0")
        opened.press_on_slider("Frame", "End")
        for each in (opened, other):
            each.wait_until(shows_frame(each, 3), "frame 3")
        opened.press_on_slider("Frame", "ArrowLeft")
        opened.wait_until(shows_frame(opened, 2), "frame 2, backwards")
        opened.click_text("Previous")
        opened.wait_until(shows_frame(opened, 1), "frame 1, backwards")
        opened.wait_until(lambda: opened.readout()[0] == 1, "its number")
        opened.page.get_by_label("Follow the newest frame").check()
        opened.wait_until(shows_frame(opened, 3), "the newest frame")
        stream.grow(7)
        for each in (opened, other):
            each.wait_until(shows_frame(each, 6), "the frame that has come")
        opened.wait_until(lambda: opened.readout()[0] == 6, "its number")
        opened.press_on_slider("Frame", "Home")
        opened.wait_until(shows_frame(opened, 0), "frame 0 again")
        assert not opened.page.get_by_label("Follow the newest frame").is_checked()
        opened.press_on_slider("Frame", "End")
        opened.wait_until(shows_frame(opened, 6), "the end of the slider that has grown")
        page.get_by_text("7 of 12 frames are there.").wait_for(timeout=180_000)
        other_context.close()
        opened.choose("Speed", "0.1x")
        opened.click("Play")
        opened.wait_until(shows_frame(opened, 3), "time that runs over frame 3")
        opened.click("Pause")
        opened.wait_until(lambda: not served.playing, "pause")
        stream.damage(4)
        served._player._cache.clear()
        opened.press_on_slider("Frame", "Home")
        for _ in range(4):
            opened.press_on_slider("Frame", "ArrowRight")
        opened.wait_until(shows_frame(opened, 3), "the last frame before damage")
        page.get_by_text("000004.delta: frame 4 is damaged").wait_for(timeout=180_000)
        opened.wait_until(lambda: len(served._painters) == 1, "no more drawing for who has left")
    finally:
        served.stop()
