"""Streamed Gaussians as they are trained, resumed, evaluated and played."""

from __future__ import annotations

import copy
import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import web_scenes
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils.eval_utils import eval_setup
from scipy.spatial import KDTree
from stream_scene import FIRST, FRAMES, MOTION, RESIDUALS, Streaming, write_recording

from dyn3d_ns.cli.export_web import pack
from dyn3d_ns.engine import run_folder, stream_run
from dyn3d_ns.engine.trainer import DynamicTrainer
from dyn3d_ns.gaussians.lattice import decoder_of
from dyn3d_ns.gaussians.streamed import frame_at
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.decoders import decoder_of as decoder_by_kind
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader

LATER = MOTION + RESIDUALS


def stream_files(run: Path) -> dict[str, bytes]:
    """Return the content of a run's stream."""
    return {path.name: path.read_bytes() for path in sorted((run / "stream").iterdir())}


def evaluate(trainer: DynamicTrainer) -> dict[str, Any]:
    """Return what `ns-eval` reports."""
    trainer.pipeline.eval()
    return trainer.pipeline.get_average_eval_image_metrics()


def test_later_frames_follow_the_motion_and_a_frozen_frame_does_not(
    unbroken: DynamicTrainer, streaming: Streaming
) -> None:
    found = evaluate(unbroken)
    psnr = [frame["psnr"] for frame in found["per_frame"]]
    assert len(psnr) == FRAMES
    dataset, model = unbroken.pipeline.datamanager.eval_dataset, streaming.model(unbroken)
    frozen = []
    for i in (0, FRAMES - 1):
        camera = dataset.cameras[i : i + 1]
        camera.times = torch.zeros_like(camera.times)
        shown = model.get_outputs_for_camera(camera)["rgb"].numpy()
        frozen.append(-10 * np.log10(((shown - dataset.get_numpy_image(i) / 255.0) ** 2).mean()))
    assert frozen[0] == pytest.approx(psnr[0], abs=0.1)
    assert psnr[-1] > frozen[-1] + 5
    assert psnr[-1] > psnr[0] - 4


def test_the_report_states_bytes_and_seconds_of_the_stream(unbroken: DynamicTrainer) -> None:
    found, run = evaluate(unbroken), unbroken.base_dir
    sizes = {path.suffix: 0 for path in (run / "stream").iterdir()}
    for path in (run / "stream").iterdir():
        sizes[path.suffix] += path.stat().st_size
    later = sizes[".delta"] + sizes[".key"]
    assert found["bytes_per_later_frame"] == pytest.approx(later / (FRAMES - 1))
    assert found["bytes_per_frame"] == pytest.approx((later + sizes[".init"]) / FRAMES)
    records = json.loads((run / "frames.json").read_text())
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert found["seconds_per_later_frame"] == pytest.approx(np.mean([r["seconds"] for r in records[1:]]))
    assert sum(record["bytes"] for record in records) == later + sizes[".init"]
    assert all(record["figures"]["moving"] > 0 for record in records[1:])


def test_what_is_decoded_is_what_the_next_frame_started_from(
    unbroken: DynamicTrainer, streaming: Streaming
) -> None:
    reader = StreamReader(unbroken.base_dir / "stream")
    decoder = decoder_of(reader.header)
    state = decoder.start(reader.init())
    initial = state
    for frame in range(1, FRAMES):
        state = decoder.advance(state, reader.delta(frame))
        if frame in reader.keyframes():
            jumped = decoder.jump(initial, reader.key(frame))
            for name, values in vars(state).items():
                np.testing.assert_array_equal(values, vars(jumped)[name], err_msg=name)
    encoder = streaming.model(unbroken).encoder
    assert encoder is not None and reader.keyframes() == [2, 4]
    for name, values in vars(encoder.state).items():
        np.testing.assert_array_equal(values, vars(state)[name], err_msg=name)


def test_between_two_frames_what_moves_is_on_its_way(unbroken: DynamicTrainer, streaming: Streaming) -> None:
    model = streaming.model(unbroken)
    early, late = (model.gaussians_at(model.timeline.frame_times[i]).means for i in (2, 3))
    assert frame_at(model.timeline.frame_times, 0.5, FRAMES) == (3, pytest.approx(0.5))
    between = model.gaussians_at(0.5).means
    moving = model.gaussians_at(model.timeline.frame_times[3]).moving
    torch.testing.assert_close(between[moving], 0.5 * (early + late)[moving])
    torch.testing.assert_close(between[~moving], late[~moving])


def test_a_page_holds_every_frame_of_the_stream(unbroken: DynamicTrainer, streaming: Streaming) -> None:
    model = streaming.model(unbroken)
    packed = pack(model)
    found = web_scenes.read_columns(packed.columns)
    assert packed.motion["kind"] == "frames" and 0 < packed.moving < packed.count
    first = model.gaussians_at(0.0).means.numpy()
    nearest = KDTree(first).query(found["means"][: packed.moving])[1]
    steps = found["meansOver"].reshape(FRAMES, packed.moving, 3)
    column = next(column for column in packed.columns.described if column["name"] == "meansOver")
    low, step = np.array(column["low"]), np.array(column["step"])
    # What a column of differences holds begins with the first frame, itself a difference to nothing.
    integers = np.rint((steps - low) / step).astype(np.int64)
    signed = (integers + (1 << column["bits"] - 1)) % (1 << column["bits"]) - (1 << column["bits"] - 1)
    places = low + step * np.cumsum(signed, 0)
    for frame, time in enumerate(model.timeline.frame_times):
        wanted = model.gaussians_at(time).means.numpy()[nearest]
        assert np.abs(places[frame] - wanted).max() < 1e-5


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("at_step", [FIRST // 2, FIRST + LATER - 1, FIRST + 2 * LATER + MOTION + 3])
def test_a_stopped_training_goes_on_to_the_same_bytes(
    streaming: Streaming, unbroken: DynamicTrainer, at_step: int
) -> None:
    def stop() -> None:
        signal.raise_signal(signal.SIGTERM)

    config = streaming.config(f"stopped-{at_step}")
    with pytest.raises(SystemExit):
        streaming.run(config, at_step, stop)
    resumed = streaming.config(f"resumed-{at_step}")
    resumed.load_dir = config.get_checkpoint_dir()
    assert stream_files(streaming.run(resumed).base_dir) == stream_files(unbroken.base_dir)


KILLED = """
import os, signal, sys
from pathlib import Path
tests, data, output, step = sys.argv[1:]
sys.path.insert(0, tests)
from stream_scene import Streaming
streaming = Streaming(Path(data), Path(output))
streaming.run(streaming.config("killed"), int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.slow
def test_a_training_killed_within_a_frame_goes_on_to_the_same_bytes(
    streaming: Streaming, unbroken: DynamicTrainer
) -> None:
    step = FIRST + 3 * LATER + MOTION + 4
    arguments = [str(Path(__file__).parents[2]), str(streaming.data), str(streaming.output), str(step)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = streaming.config("killed").get_base_dir()
    assert StreamReader(run / "stream").num_frames() == 4
    resumed = streaming.config("after-the-kill")
    resumed.load_dir = run / "nerfstudio_models"
    assert stream_files(streaming.run(resumed).base_dir) == stream_files(unbroken.base_dir)


@pytest.mark.parametrize("suffix", [".delta", ".npz"])
def test_a_full_disk_leaves_the_frames_before_and_the_training_goes_on(
    streaming: Streaming, unbroken: DynamicTrainer, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    from dyn3d_ns.io import atomic

    original = atomic._fsync

    def full(path: Path) -> None:
        if path.name.startswith(f".000003{suffix}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path)

    config = streaming.config(f"full-disk{suffix}")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_fsync", full)
        with pytest.raises(UserError, match="frame 3|before 3"):
            streaming.run(config)
    run = config.get_base_dir()
    assert StreamReader(run / "stream").num_frames() == 3
    assert not list((run / "stream").glob(".*"))
    resumed = streaming.config(f"after-full-disk{suffix}")
    resumed.load_dir = run / "nerfstudio_models"
    assert stream_files(streaming.run(resumed).base_dir) == stream_files(unbroken.base_dir)


def test_resuming_keeps_the_run_that_it_goes_on_from(streaming: Streaming, unbroken: DynamicTrainer) -> None:
    before = stream_files(unbroken.base_dir)
    config = streaming.config("again")
    config.load_dir = unbroken.checkpoint_dir
    again = streaming.run(config)
    assert stream_files(unbroken.base_dir) == before == stream_files(again.base_dir)
    assert evaluate(again)["bytes_per_frame"] == evaluate(unbroken)["bytes_per_frame"]


def altered(data: Path, folder: Path) -> Path:
    """Return a copy of a recording in which one image of the last frame is another camera's."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns(".dyn3d_cache"))
    last = f"images/{FRAMES - 1:04d}.png"
    shutil.copy(folder / "cam00" / last, folder / "cam01" / last)
    return folder


def test_a_stream_is_gone_on_with_on_its_own_recording_only(
    streaming: Streaming, unbroken: DynamicTrainer, tmp_path: Path
) -> None:
    other = Streaming(altered(streaming.data, tmp_path / "other"), tmp_path / "out")
    smaller = streaming.config("smaller")
    smaller.pipeline.datamanager.dataparser.scale = 0.5  # type: ignore[attr-defined]
    for config in (other.config("other"), smaller):
        config.load_dir = unbroken.checkpoint_dir
        with pytest.raises(
            UserError, match=f"(frame {FRAMES - 1} is not that of|images are 32x32 instead of).*--scale"
        ):
            streaming.run(config)
        assert not (config.get_base_dir() / "stream").exists()
    grid = copy.deepcopy(all_methods["dyn3d-streamrf-fast"])
    grid.machine.device_type, grid.vis, grid.output_dir = "cpu", "tensorboard", tmp_path
    grid.pipeline.datamanager.data, grid.load_dir = streaming.data, unbroken.checkpoint_dir
    with pytest.raises(UserError, match="is of dyn3d-stream-splat-fast"):
        streaming.run(grid)


@pytest.mark.usefixtures("default_signals")
def test_an_unfinished_stream_is_measured_and_played_as_far_as_it_goes(
    streaming: Streaming, capsys: pytest.CaptureFixture[str]
) -> None:
    config = streaming.config("unfinished")
    config.save_config()
    with pytest.raises(SystemExit):
        streaming.run(config, FIRST + 2 * LATER + 1, lambda: signal.raise_signal(signal.SIGTERM))
    _, pipeline, _, _ = eval_setup(config.get_base_dir() / "config.yml")
    found = pipeline.get_average_eval_image_metrics()
    assert found["interp_images"] == found["stream_frames"] == 3
    said = " ".join(capsys.readouterr().out.split())
    assert f"not measured: {FRAMES - 3} of {FRAMES} images" in said
    assert pipeline.model.playback.timeline.num_frames == 3
    camera = pipeline.datamanager.eval_dataset.cameras[FRAMES - 1 : FRAMES]
    for _ in range(2):
        pipeline.model.get_outputs_for_camera(camera)
    assert capsys.readouterr().out.count(f"3 of {FRAMES} frames are trained") == 1, "it is said once"
    with pytest.raises(UserError, match="holds a stream already"):
        stale = streaming.config("unfinished")
        run_folder._held.clear()
        stale.save_config()


def test_frames_in_which_nothing_changes_cost_nothing(streaming: Streaming, tmp_path: Path) -> None:
    from PIL import Image

    data = write_recording(tmp_path / "still", frames=3)
    for path in data.glob("cam*/images/000[12].png"):
        Image.open(path.with_name("0000.png")).save(path)
    still = Streaming(data, tmp_path / "out")
    trainer = still.run(still.config("still"))
    records = json.loads((trainer.base_dir / "frames.json").read_text())
    assert [record["figures"] for record in records[1:]] == [{"views": 0, "moving": 0, "changed": 0}] * 2
    player = StreamPlayer(reader := StreamReader(trainer.base_dir / "stream"), decoder_by_kind(reader.header))
    for name, values in vars(player.seek(2)).items():
        np.testing.assert_array_equal(values, vars(player.seek(0))[name])


def test_a_recording_is_followed_while_it_is_made_and_ends_where_it_ends(
    streaming: Streaming, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_recording(tmp_path / "live", frames=1)
    live = Streaming(data, tmp_path / "out")
    config = live.config("live")
    config.pipeline.datamanager.dataparser.follow = True
    config.pipeline.datamanager.dataparser.frame_end = 9
    config.pipeline.model.stream.end_after = 2.0
    later = threading.Thread(target=write_recording, args=(data, 4, 1))
    trainer = live.run(config, FIRST - 1, later.start)
    later.join()
    reader = StreamReader(trainer.base_dir / "stream")
    assert reader.num_frames() == reader.header.planned_frames == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "frame 1: training" in said and "The stream has 4 of 9 frames" in said
    assert "no whole image of frame 4 of cam00, cam01, cam02" in said
    assert evaluate(trainer)["interp_images"] == 4
    write_recording(data, 6, 4)
    config = copy.deepcopy(config)
    config.load_dir = trainer.checkpoint_dir
    later_on = live.run(config)
    reader = StreamReader(later_on.base_dir / "stream")
    assert reader.num_frames() == reader.header.planned_frames == 6
    assert reader.header.frame_times[5] == pytest.approx(5 / 8)
    assert stream_run.StreamRun(trainer.base_dir).player().seek(3).moving.any()


def test_frames_are_held_to_keep_up(tmp_path: Path) -> None:
    data = write_recording(tmp_path / "late", frames=1)
    late = Streaming(data, tmp_path / "out")
    config = late.config("late")
    config.pipeline.datamanager.dataparser.follow = True
    config.pipeline.datamanager.dataparser.frame_end = FRAMES
    config.pipeline.model.stream.skip_behind = 1
    trainer = late.run(config, FIRST - 1, lambda: write_recording(data, FRAMES, 1) and None)
    records = json.loads((trainer.base_dir / "frames.json").read_text())
    assert [record["figures"]["views"] for record in records[1:]] == [0, 0, 0, 4, 4]
    player = stream_run.StreamRun(trainer.base_dir).player()
    np.testing.assert_array_equal(player.seek(3).means, player.seek(0).means)
    assert player.seek(5).moving.any()
