"""The stage `masks` on clips whose masks are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.video.masks.settings import MasksSettings
from dyn3d_ns.video.masks.stage import MasksStage
from tests.video.cards import MOVER, PILLAR, WALL, Card, CardClip, QuietReport


def run(clip: CardClip, root: Path, **settings) -> tuple[Workspace, QuietReport]:
    workspace, report = clip.write(root, "frames flow"), QuietReport()
    stage = MasksStage(MasksSettings(**settings))
    stage.run(workspace, report)
    assert all(path.is_file() for path in stage.outputs(workspace))
    return workspace, report


def mean_overlap(clip: CardClip, workspace: Workspace) -> float:
    found = [workspace.labels(i) > 0 for i in range(clip.num_frames)]
    pairs = [(f, t > 0) for f, t in zip(found, clip.labels, strict=True)]
    return float(np.mean([(f & t).sum() / max((f | t).sum(), 1) for f, t in pairs]))


def test_the_mover_is_found_and_the_pillar_is_not(tmp_path: Path) -> None:
    clip = CardClip((WALL, PILLAR, MOVER), frames=10)
    workspace, _ = run(clip, tmp_path / "clip")
    assert mean_overlap(clip, workspace) > 0.8
    assert {int(k) for i in range(10) for k in np.unique(workspace.labels(i))} == {0, 1}
    assert json.loads(workspace.instance_labels_path.read_text()) == {"1": "moving object 1"}
    assert workspace.motion(4)[clip.labels[4] == 1].mean() > 0.6
    assert workspace.motion(4, "dyna_max").mean() >= workspace.motion(4).mean() - 0.01
    assert not (tmp_path / "clip/motion/later").exists()


def test_two_movers_of_a_still_camera_are_two_objects(tmp_path: Path) -> None:
    other = Card((-0.8, 0.5, 4), (0.6, 0.6), (0.06, 0, 0), label=2, seed=5)
    clip = CardClip((WALL, MOVER, other), frames=8, camera_step=(0, 0, 0))
    workspace, report = run(clip, tmp_path / "clip")
    assert any("hardly moves" in note for note in report.notes)
    assert mean_overlap(clip, workspace) > 0.7
    ids = [
        int(np.bincount(workspace.labels(i)[clip.labels[i] == k]).argmax()) for k in (1, 2) for i in range(8)
    ]
    assert ids == [ids[0]] * 8 + [ids[8]] * 8
    assert {ids[0], ids[8]} == {1, 2}


def test_nothing_moves(tmp_path: Path) -> None:
    workspace, report = run(CardClip((WALL, PILLAR), frames=4), tmp_path / "clip")
    assert any("nothing was found to move" in note for note in report.notes)
    assert not any(workspace.labels(i).any() for i in range(4))


def test_one_frame_shows_no_motion(tmp_path: Path) -> None:
    workspace, report = run(CardClip(frames=1), tmp_path / "clip")
    assert any("one frame" in note for note in report.notes)
    assert not workspace.labels(0).any()


def test_given_masks_are_taken_as_they_are(tmp_path: Path) -> None:
    clip = CardClip(frames=3)
    (tmp_path / "mine").mkdir()
    for i in range(3):
        np.save(tmp_path / "mine" / f"{i}.npy", clip.labels[i] * 7)
    workspace, _ = run(clip, tmp_path / "clip", masks=tmp_path / "mine", pictures=False)
    assert all((workspace.labels(i) == clip.labels[i]).all() for i in range(3))
    assert json.loads(workspace.instance_labels_path.read_text()) == {"1": "object 1"}
    assert not (workspace.segmentation_dir / "videos").exists()


def test_masks_that_cover_everything_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for i in range(3):
        np.save(tmp_path / "mine" / f"{i}.npy", np.ones((96, 128), np.int32))
    _, report = run(CardClip(frames=3), tmp_path / "clip", masks=tmp_path / "mine")
    assert any("counts as moving in 3 of 3 frames" in note for note in report.notes)


def test_too_few_given_masks(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine/0.npy", np.zeros((96, 128), np.int32))
    with pytest.raises(DatasetError, match="holds 1 masks"):
        run(CardClip(frames=3), tmp_path / "clip", masks=tmp_path / "mine")
