"""Pictures of a field: what rests is made once a camera, whatever the time, as if nothing was kept."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from dyn3d_ns.models.mononerf import pictures
from dyn3d_ns.models.mononerf.pictures import MonoNerfPictures, View
from dyn3d_ns.models.mononerf.scene import MonoNerfScene
from dyn3d_ns.models.mononerf.videos import Videos
from tests.models.mononerf.conftest import row_of_cameras, small_scene

TIMES = (0.0, 1 / 3, 0.4, 1.0)


@pytest.fixture
def scene(videos: Videos) -> MonoNerfScene:
    """Untrained networks; what moves is in the middle of frame 1 alone."""
    made = small_scene(videos).eval()
    made.proposals.resting.fill_(1.0)
    made.proposals.moving.zero_()
    made.proposals.moving[1, 2:6, 2:4, 3:5] = 50.0
    return made


def view(position: int = 1, time: float = 0.0, background: int = 0) -> View:
    cameras = row_of_cameras(4, 24, 16)
    return View(cameras[position : position + 1], time, 0, background)


def counted(scene: MonoNerfScene, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many rays the static field is asked for."""
    asked, whole = [], scene.resting

    def resting(rays, places, *rest):
        asked.append(len(places))
        return whole(rays, places, *rest)

    monkeypatch.setattr(scene, "resting", resting)
    return asked


def test_what_is_kept_changes_no_picture(scene: MonoNerfScene) -> None:
    kept = MonoNerfPictures(scene, 100, 8)
    for background in (0, 1):
        for position in (1, 2, 1):
            for time in TIMES:
                one = view(position, time, background)
                for found, wanted in zip(
                    kept.render(one), MonoNerfPictures(scene, 100, 8).render(one), strict=True
                ):
                    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_time_goes_by_without_what_rests_being_made_again(
    scene: MonoNerfScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = counted(scene, monkeypatch), MonoNerfPictures(scene, 100, 8)
    first = made.render(view(time=0.0))
    assert sum(asked) == 24 * 16
    moved = made.render(view(time=1 / 3))
    some = int((moved.blending > 0).sum())
    assert 0 < some < 100 and sum(asked) == 24 * 16 + some
    torch.testing.assert_close(first.static, moved.static, rtol=0, atol=0)
    assert float((first.rgb - moved.rgb).abs().max()) > 1e-3
    made.forget()
    made.render(view(time=0.0))
    assert sum(asked) == 2 * 24 * 16 + some


@pytest.mark.parametrize("change", ["fx", "cy", "pose", "distortion"])
def test_another_camera_shows_what_rests_anew(scene: MonoNerfScene, change: str) -> None:
    made = MonoNerfPictures(scene, 100, 8)
    before = made.render(view()).static
    one = view()
    camera: Cameras = one.camera
    if change == "pose":
        camera.camera_to_worlds[0, 1, 3] += 0.2
    elif change == "distortion":
        camera.distortion_params = torch.tensor([[0.2, 0, 0, 0, 0, 0]])
    else:
        getattr(camera, change)[:] *= 1.3
    assert float((made.render(one).static - before).abs().max()) > 1e-4


def test_few_cameras_are_kept(scene: MonoNerfScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_KEPT", 2)
    asked, made = counted(scene, monkeypatch), MonoNerfPictures(scene, 1000, 8)
    for position in (0, 1, 0, 2, 0):
        made.render(view(position))
    assert len(asked) == 3
    made.render(view(1))
    assert len(asked) == 4
