"""The page of `dyn3d export web` in a browser: what it shows, and what its controls do."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import web_scenes as ws
from PIL import Image
from scipy.spatial.transform import Rotation

from dyn3d_ns.export.scene import splats_of
from dyn3d_ns.export.web import write_page
from dyn3d_ns.export.web_scene import pack_carried, pack_sequence
from dyn3d_ns.gaussians.carried import CarriedScene
from dyn3d_ns.geometry.world import SAME
from dyn3d_ns.io.splats import Splats, StoredSequence, View

SIZE = 128


class Opened:
    """A page that was opened from the disk, and what it said and asked for."""

    def __init__(self, page, path: Path, link: str = "") -> None:
        self.page, self.asked, self.said = page, [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(path.as_uri() + link)

    def settle(self) -> None:
        self.page.locator("body[data-settled=true]").wait_for(state="attached")

    def square(self) -> None:
        """Give the canvas a size of our choice."""
        script = """size => {
            Object.assign(document.querySelector("main").style, {flex: "none", height: size, width: size});
            document.querySelector("h1").hidden = true;
            document.getElementById("picture").style.outline = "none";
        }"""
        self.page.evaluate(script, f"{SIZE}px")

    def go(self, seconds: float, view: View | None = None) -> None:
        self.follow(f"#t={seconds}" + ("" if view is None else lens(view)))

    def follow(self, link: str) -> None:
        """Change what stands behind the # of the address."""
        script = """hash => new Promise(done => {
            location.replace(hash);
            const {dataset} = document.body;
            const look = () => dataset.settled === "true" && dataset.link === hash
                ? done() : requestAnimationFrame(look);
            requestAnimationFrame(look);
        })"""
        self.page.evaluate(script, link)

    def picture(self) -> np.ndarray:
        png = self.page.locator("#picture").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def changed(self, before: np.ndarray) -> np.ndarray:
        """Return the next settled picture that is another one; the test's time limit bounds the wait."""
        for _ in range(600):
            self.settle()
            now = self.picture()
            if ws.psnr(now, before) < 40:
                return now
            self.page.wait_for_timeout(100)
        raise AssertionError("the picture stays as it is")

    def state(self) -> str:
        return self.page.locator("#state").inner_text()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()


def lens(view: View) -> str:
    pose = np.asarray(view.pose)
    turn = Rotation.from_matrix(pose[:3, :3]).as_quat()
    fields = {"at": pose[:3, 3], "turn": turn, "lens": [view.fov, 1.0, 3.0]}
    return "".join(f"&{name}=" + ",".join(f"{x:.9g}" for x in values) for name, values in fields.items())


@pytest.fixture
def opened(page) -> Iterator:
    """Yield what opens a page from the disk; it may say nothing and ask for nothing but its own worker."""
    pages: list[Opened] = []

    def open_page(path: Path, link: str = "", before: str = "") -> Opened:
        fresh = page.context.browser.new_page(viewport={"width": 500, "height": 600})
        fresh.set_default_timeout(180_000)
        if before:
            fresh.add_init_script(before)
        pages.append(Opened(fresh, path, link))
        return pages[-1]

    yield open_page
    for one in pages:
        one.page.close()
        assert not one.said
        assert all(url.startswith(("file:", "blob:null/", "data:image/")) for url in one.asked), one.asked


@pytest.fixture(scope="module")
def carried_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web") / "carried.html"
    write_page(path, pack_carried(ws.carried_scene(), ws.TIMELINE), ws.page())
    return path


@torch.no_grad()
def splats_at(scene: CarriedScene, time: float) -> Splats:
    return splats_of(scene.at(time), SAME, ws.TIMELINE.duration)


@pytest.mark.parametrize("bodies", [False, True])
def test_motion_is_that_of_the_scene(bodies: bool, tmp_path: Path, opened) -> None:
    """Between frames, at the end of the observed time, in the future, past the recording, and past what was
    foretold."""
    scene, path = ws.carried_scene(bodies), tmp_path / "carried.html"
    write_page(path, pack_carried(scene, ws.TIMELINE), ws.page())
    one = opened(path)
    one.settle()
    one.square()
    pictures = []
    for time, angle in ((0.0, 0.0), (0.31, 0.7), (0.75, 1.9), (0.83, 2.9), (1.0, 4.0), (1.25, 5.0)):
        view = ws.view_from(angle)
        one.go(ws.TIMELINE.seconds(time), view)
        shown = one.picture()
        truth = ws.rendered(splats_at(scene, time), view, SIZE)
        assert ws.psnr(shown, truth) > 40, time
        still = ws.rendered(splats_at(scene, 0.375), view, SIZE)
        assert ws.psnr(shown, still) < 32, "the scene hardly moves: the test would pass without motion"
        pictures.append(shown)


def test_frames_are_those_of_the_sequence(tmp_path: Path, opened) -> None:
    """At its times; between two of them centres are on the way from one to the other."""
    sequence = ws.sequence()
    path = tmp_path / "frames.html"
    write_page(path, pack_sequence(sequence), ws.page(observed=2.0, recorded=2.0))
    one = opened(path)
    one.settle()
    one.square()
    view = ws.view_from(1.0)
    for index, seconds in enumerate(sequence.seconds):
        one.go(seconds, view)
        assert ws.psnr(one.picture(), ws.rendered(sequence.at(index), view, SIZE)) > 40, seconds
    one.go(0.5, view)
    before = one.picture()
    one.go(0.75, view)
    between = one.picture()
    one.go(1.0, view)
    after = one.picture()
    mean = (before.astype(float) + after) / 2
    assert ws.psnr(between, mean) > max(ws.psnr(between, before), ws.psnr(between, after))


def test_one_moment(tmp_path: Path, opened) -> None:
    path = tmp_path / "one.html"
    still = StoredSequence([ws.sequence().at(0)], (3.0,), ws.sequence().about)
    write_page(path, pack_sequence(still), ws.page())
    one = opened(path)
    one.settle()
    one.square()
    one.go(0.0, ws.view_from(0.0))
    assert ws.psnr(one.picture(), ws.rendered(still.at(0), ws.view_from(0.0), SIZE)) > 40
    assert one.state() == "one moment"
    assert not one.page.get_by_role("slider").is_visible()


def test_controls(carried_page: Path, opened) -> None:
    """By name, as one who hears the page finds them."""
    one = opened(carried_page)
    one.settle()
    page = one.page
    slider = page.get_by_role("slider", name="Time, in frames")
    assert one.state() == "frame 0 of 10 · 0.00 s"
    assert not page.locator("#poster").is_visible()
    one.press("One frame forward")
    one.settle()
    assert one.state() == "frame 1 of 10 · 0.13 s"
    slider.focus()
    page.keyboard.press("End")
    one.settle()
    assert one.state() == "frame 10 of 10 · 1.25 s · predicted"
    assert "predicted" in (slider.get_attribute("aria-valuetext") or "")
    one.press("One frame back")
    one.settle()
    assert one.state() == "frame 9 of 10 · 1.13 s · predicted"
    page.get_by_label("Loop").uncheck()
    page.get_by_label("Speed").select_option("2")
    one.press("Play")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    one.settle()
    assert one.state().startswith("frame 10 of 10")
    # Stopped at the end, it starts from the beginning.
    one.press("Play")
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.keyboard.press("Space")
    one.settle()
    one.press("Full screen")
    page.wait_for_timeout(100)
    one.settle()
    assert page.evaluate("document.fullscreenElement !== null")


def test_views(carried_page: Path, opened) -> None:
    """Recorded cameras, their path, mouse and keys; a link brings the view back."""
    one = opened(carried_page)
    one.settle()
    one.square()
    page, cameras = one.page, one.page.get_by_label("Recorded camera")
    scene = ws.carried_scene()
    cameras.select_option("2")
    one.settle()
    assert ws.psnr(one.picture(), ws.rendered(splats_at(scene, 0.0), ws.VIEWS[2], SIZE)) > 40
    page.get_by_label("Follow the recorded path").check()
    page.get_by_role("slider").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    one.settle()
    last = ws.rendered(splats_at(scene, 1.0), ws.VIEWS[2], SIZE)
    assert ws.psnr(one.picture(), last) > 40, "the path ends with the recording, at the last camera"
    before = one.picture()
    picture = page.locator("#picture")
    picture.focus()
    page.keyboard.press("ArrowLeft")
    turned = one.changed(before)
    assert not page.get_by_label("Follow the recorded path").is_checked()
    picture.drag_to(picture, source_position={"x": 40, "y": 40}, target_position={"x": 70, "y": 50})
    dragged = one.changed(turned)
    page.mouse.wheel(0, 300)
    away = one.changed(dragged)
    one.press("Copy link")
    link = page.evaluate("location.hash")
    assert re.match(r"#t=1&at=[-\d.,e]+&turn=[-\d.,e]+&lens=[-\d.,e]+$", link)
    again = opened(carried_page, link)
    again.settle()
    again.square()
    again.changed(np.zeros_like(away))
    assert ws.psnr(again.picture(), away) > 45
    assert again.state() == "frame 8 of 10 · 1.00 s · predicted"


def test_links_that_are_none_change_nothing(carried_page: Path, opened) -> None:
    one = opened(carried_page, "#%")
    one.settle()
    for link in ("#t=nan", "#t=1e999&at=1,2", "#at=0,0,0&turn=0,0,0,0&lens=1,1,1", "#lens=0,1,1"):
        one.follow(link)
        assert one.state() == "frame 0 of 10 · 0.00 s"
        assert one.page.get_by_label("Recorded camera").input_value() == "0", "the view is that of the camera"
    one.follow("#t=99")
    assert one.state() == "frame 10 of 10 · 1.25 s · predicted"


def test_fingers(carried_page: Path, opened) -> None:
    """One turns, two that part come nearer; the point that the view turns about stays where it is."""
    one = opened(carried_page)
    one.settle()
    one.square()
    client = one.page.context.new_cdp_session(one.page)

    def touch(kind: str, *places: tuple[int, int]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def view() -> tuple[np.ndarray, float, np.ndarray]:
        one.press("Copy link")
        fields = dict(part.split("=") for part in one.page.evaluate("location.hash")[1:].split("&"))
        at, turn, lens = (np.array(fields[name].split(","), float) for name in ("at", "turn", "lens"))
        return at, lens[2], at - lens[2] * Rotation.from_quat(turn).apply([0, 0, 1])

    def view_when(reached: Callable[[np.ndarray, float], bool]) -> tuple[np.ndarray, float, np.ndarray]:
        """Return the view once the page has drawn what the fingers did, or as it is when that takes too
        long."""
        found = view()
        for _ in range(200):
            if reached(*found[:2]):
                break
            one.page.wait_for_timeout(50)
            found = view()
        return found

    start, distance, target = view()
    touch("touchStart", (40, 60))
    touch("touchMove", (60, 60))
    touch("touchEnd")
    turned, same, still = view_when(lambda at, _: bool(np.linalg.norm(at - start) > 0.3))
    assert np.linalg.norm(turned - start) > 0.3 and same == pytest.approx(distance, rel=1e-5)
    touch("touchStart", (40, 60), (60, 60))
    touch("touchMove", (30, 60), (70, 60))
    touch("touchEnd")
    _, near, same_target = view_when(lambda _, far: far == pytest.approx(distance / 2, rel=0.05))
    assert near == pytest.approx(distance / 2, rel=0.05)
    np.testing.assert_allclose(still, target, atol=1e-5)
    # The fingers' messages come one by one, at two distances.
    np.testing.assert_allclose(same_target, target, atol=0.05)


def test_a_scene_without_cameras_is_seen_whole(tmp_path: Path, opened) -> None:
    path = tmp_path / "page.html"
    write_page(path, pack_carried(ws.carried_scene(), ws.TIMELINE), ws.page(views=()))
    one = opened(path)
    one.settle()
    one.square()
    one.settle()
    differs = np.abs(one.picture().astype(int) - one.picture()[0, 0]).sum(2) > 30
    assert 0.05 < differs.mean() < 0.9
    assert np.abs(np.argwhere(differs).mean(0) - SIZE / 2).max() < SIZE / 5, "in the middle"
    assert not one.page.get_by_label("Recorded camera").is_visible()


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null", "no WebGL2"),
        ("delete window.DecompressionStream", "too old"),
    ],
)
def test_the_poster_stays_where_the_scene_cannot_play(
    carried_page: Path, opened, lacks: str, says: str
) -> None:
    one = opened(carried_page, before=lacks)
    alert = one.page.get_by_role("alert")
    alert.get_by_text(says).wait_for()
    assert one.page.locator("#poster").is_visible()
    assert one.page.evaluate("document.getElementById('poster').naturalWidth") == 32
