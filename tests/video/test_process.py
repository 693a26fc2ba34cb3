"""`dyn3d process` on small clips: files, resume, and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.cli.main import main, parse
from dyn3d_ns.cli.process import Process
from dyn3d_ns.io.clip.paths import STAGES
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.registry import part
from tests.video.clips import shifted_frames, texture, write_folder, write_video

FIRST = "frames,flow,keyframes,tracks"


def process(source: Path, out: Path, *options: str, stages: str = FIRST) -> int:
    return main(["process", str(source), str(out), "--stages", stages, *options])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Workspace]:
    folder = tmp_path_factory.mktemp("process")
    source = write_video(folder / "clip.mp4", shifted_frames(12, 72, 96), fps=24)
    assert process(source, folder / "scene", "--keyframes.create-merged") == 0
    return source, Workspace(folder / "scene")


def test_frames_and_times(done: tuple[Path, Workspace]) -> None:
    _, workspace = done
    clip = workspace.clip()
    assert (clip.width, clip.height, len(clip.times)) == (96, 72, 12)
    assert clip.fps == pytest.approx(24, rel=1e-3)
    assert clip.normalized_times == pytest.approx(np.arange(12) / 11, abs=1e-3)
    assert workspace.image(3).shape == (72, 96, 3)


def test_flow_files(done: tuple[Path, Workspace]) -> None:
    import cv2

    _, workspace = done
    forward, backward = workspace.flow(4, 5), workspace.flow(5, 4)
    assert np.median(forward.flow, axis=(0, 1)) == pytest.approx([-2, -1], abs=0.2)
    assert np.median(backward.flow, axis=(0, 1)) == pytest.approx([2, 1], abs=0.2)
    flo = cv2.readOpticalFlow(str(workspace.flow_path(4, 5).with_suffix(".flo")))
    assert np.abs(flo - forward.flow).max() < 0.01


def test_keyframe_files_have_the_published_names_and_keys(done: tuple[Path, Workspace]) -> None:
    _, workspace = done
    folder = workspace.keyframes_dir
    info = json.loads(workspace.keyframe_info_path.read_text())
    assert set(info) >= {
        "scene",
        "total_frames",
        "flow_model",
        "metric",
        "ratio",
        "min_frame_gap",
        "selected",
        "scores",
    }
    assert info["flow_model"] == "dis" and len(info["scores"]) == 11
    assert set(info["scores"][0]) == {"from", "to", "mean", "median", "p75", "p90", "p95", "max"}
    for entry in info["selected"]:
        assert (folder / "rgb" / entry["file"]).is_file()
        assert (
            entry["file"].startswith("scene_high_motion_") and f"_frame_{entry['index']:04d}" in entry["file"]
        )
        assert (folder / "merged_high_motion_frames" / entry["file"]).is_file()
    summary = json.loads((folder / "processing_summary.json").read_text())
    assert summary["results"][0]["selected_frames"] == workspace.keyframes()
    assert summary["results"][0]["motion_scores_summary"]["total_pairs"] == 11
    with Image.open(folder / "motion_analysis.png") as plot:
        assert plot.size == (960, 360)
    assert len(list(folder.glob("flow_vis_top_*.png"))) == 3


def test_track_file_has_the_published_keys(done: tuple[Path, Workspace]) -> None:
    _, workspace = done
    with np.load(workspace.tracks_path(), allow_pickle=False) as file:
        assert file["all_tracks"].shape[::2] == (12, 2) and file["all_tracks"].shape[1] > 100
        assert file["all_visibilities"].shape == file["all_confidences"].shape == file["all_tracks"].shape[:2]
        assert file["orig_shape"].tolist() == [72, 96]
    assert workspace.tracks_file() == workspace.root / "cotrackerv3_10_50/results.npz"


def test_a_second_run_keeps_everything(done: tuple[Path, Workspace], capsys: pytest.CaptureFixture) -> None:
    source, workspace = done
    before = {p: p.stat().st_mtime_ns for p in workspace.frames()}
    assert process(source, workspace.root, "--keyframes.create-merged") == 0
    stages = json.loads(workspace.manifest_path.read_text())["stages"]
    assert {stages[name]["state"] for name in FIRST.split(",")} == {"kept"}
    assert before == {p: p.stat().st_mtime_ns for p in workspace.frames()}
    assert "kept" in capsys.readouterr().err


def test_frames_are_thinned_shrunk_and_cut(tmp_path: Path) -> None:
    frames = shifted_frames(30, 80, 120)
    source = write_folder(tmp_path / "in", frames)
    out = tmp_path / "out"
    options = ("--fps", "10", "--folder-fps", "30", "--max-frames", "6", "--resize", "60")
    assert process(source, out, *options, stages="frames") == 0
    workspace = Workspace(out)
    clip = workspace.clip()
    assert clip.source_frames == (0, 3, 6, 9, 12, 15) and (clip.width, clip.height) == (60, 40)
    assert clip.fps == pytest.approx(10)
    mean = frames[3].reshape(40, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(workspace.image(1) - mean).max() <= 1
    assert process(source, out, "--max-frames", "4", stages="frames") == 0
    assert len(workspace.frames()) == 4, "frames of the longer clip are gone"


def test_frames_that_are_there_already_are_used_in_place(tmp_path: Path) -> None:
    rgb = write_folder(tmp_path / "scene/rgb", shifted_frames(4), "frame_{}.png")
    assert process(rgb, tmp_path / "scene", stages="frames,flow") == 0
    assert [p.name for p in Workspace(tmp_path / "scene").frames()] == [f"frame_{i}.png" for i in range(4)]
    assert process(rgb, tmp_path / "scene", "--redo", "frames", stages="frames") == 0
    assert len(list(rgb.iterdir())) == 4, "a redo never removes what it did not write"


def test_foreign_frames_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write_folder(tmp_path / "in", shifted_frames(4))
    write_folder(tmp_path / "scene/rgb", shifted_frames(2))
    assert process(source, tmp_path / "scene", stages="frames") == 2
    assert "other" in capsys.readouterr().err
    assert len(list((tmp_path / "scene/rgb").iterdir())) == 2


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (shifted_frames(1), "needs at least 2"),
        ([texture(64, 96), texture(64, 80)], "share one size"),
        ([texture(8, 9)] * 3, "too small"),
    ],
)
def test_bad_clips_end_with_one_clear_error(
    tmp_path: Path, frames: list, message: str, capsys: pytest.CaptureFixture
) -> None:
    source = write_folder(tmp_path / "in", frames)
    assert process(source, tmp_path / "out") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())["stages"]
    assert manifest["frames"]["state"] == "failed" and manifest["flow"]["state"] == "left out"


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"hello" * 50, "not a video"), (None, "does not exist")]
)
def test_what_is_no_video_ends_with_one_clear_error(
    tmp_path: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "v.mp4"
    if content is not None:
        source.write_bytes(content)
    assert process(source, tmp_path / "out") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said


@pytest.mark.parametrize("kind", ["truncated video", "damaged image"])
def test_damaged_input_goes_through_as_far_as_it_can_be_read(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture
) -> None:
    frames = shifted_frames(60, step=(3, 0))
    if kind == "damaged image":
        source, expected, told = write_folder(tmp_path / "in", frames[:24]), 23, "f11.png"
        (source / "f11.png").write_bytes((source / "f11.png").read_bytes()[:300])
    else:
        source, expected, told = write_video(tmp_path / "v.mkv", frames), None, "cut short"
        source.write_bytes(source.read_bytes()[: 3 * source.stat().st_size // 4])
    assert process(source, tmp_path / "out") == 0
    workspace = Workspace(tmp_path / "out")
    count = workspace.num_frames
    assert count == expected if expected else 2 < count < 60
    assert workspace.has_flow(count - 2, count - 1) and workspace.tracks().visible.shape[0] == count
    notes = json.loads(workspace.manifest_path.read_text())["stages"]["frames"]["notes"]
    assert told in " ".join(notes) and told in capsys.readouterr().err
    if kind == "damaged image":
        # The gap stays a gap in time.
        assert np.diff(workspace.clip().times)[10] == pytest.approx(2 * np.diff(workspace.clip().times)[0])


def test_clips_that_show_nothing_go_through_with_a_note(tmp_path: Path) -> None:
    plain = np.full((64, 96, 3), 90, np.uint8)
    source = write_folder(tmp_path / "in", [plain] * 5)
    assert process(source, tmp_path / "out") == 0
    stages = json.loads((tmp_path / "out/manifest.json").read_text())["stages"]
    assert "all frames are the same" in stages["frames"]["notes"][0]
    assert "no point" in stages["tracks"]["notes"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-frames", "1"), "--max-frames must be at least 2"),
        (("--fps", "0"), "--fps must be positive"),
        (("--resize", "3"), "--resize must be 0 or at least"),
        (("--keyframes.ratio", "2"), "--keyframes.ratio must lie"),
        (("--tracks.interval", "0"), "--tracks.interval must be positive"),
        (("--redo", "fuse"), "--redo names fuse"),
        (("--flow.method", "telepathy"), "there is no flow named 'telepathy'"),
        (("--flow.method", "no.such:Thing"), "cannot be imported"),
        (("--flow.method", "raft"), "--flow.weights"),
        (("--tracks.method", "cotracker"), "--tracks.weights"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
) -> None:
    source = write_folder(tmp_path / "in", shifted_frames(3))
    assert process(source, tmp_path / "out", *options) == 2
    assert message in " ".join(capsys.readouterr().err.split())


WAITING = """
import time
import numpy as np

class WaitingFlow:
    calls = 0

    def __call__(self, a, b):
        self.calls += 1
        if self.calls > 6:
            print("waiting", flush=True)
            time.sleep(600)
        return np.zeros((*a.shape[:2], 2), np.float32)
"""


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("background", [False, True])
def test_being_stopped_loses_only_the_running_stage(
    tmp_path: Path, background: bool, deaf_to_ctrl_c: list[str]
) -> None:
    source, out = write_folder(tmp_path / "in", shifted_frames(12)), tmp_path / "out"
    (tmp_path / "waiting.py").write_text(WAITING)
    command = [sys.executable, "-m", "dyn3d_ns.cli.main", "process", str(source), str(out)]
    run = subprocess.Popen(
        [*(deaf_to_ctrl_c if background else ()), *command, "--flow.method", "waiting:WaitingFlow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert run.stdout is not None
    assert any(line == "waiting\n" for line in run.stdout), "it ended before its fourth pair of frames"
    run.send_signal(signal.SIGINT)
    if background:  # Ctrl-C is ignored there
        run.terminate()
    said = run.communicate(timeout=300)[1]
    assert run.returncode == (143 if background else 130)
    assert "go on where it stopped" in said and "Traceback" not in said
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    assert (stages["frames"]["state"], stages["flow"]["state"]) == ("done", "interrupted")
    assert process(source, out) == 0
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    assert [stages[name]["state"] for name in FIRST.split(",")] == ["kept", "done", "done", "done"]
    assert Workspace(out).flow(10, 11).valid.any()


def test_an_unknown_stage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert process(tmp_path, tmp_path / "out", stages="frames,magic") == 2
    assert "no stage 'magic'" in capsys.readouterr().err


def test_another_packages_part_is_found_by_its_import_path() -> None:
    assert part("flow", "dyn3d_ns.video.flow.opencv:DisFlow").__name__ == "DisFlow"


def test_every_stage_has_its_options() -> None:
    command = parse(["process", "video.mp4", "out"])
    assert isinstance(command, Process)
    assert all(hasattr(command, name) for name in STAGES)
