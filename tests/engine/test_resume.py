"""A training stopped in any way goes on to the result of one that was not stopped."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dyn3d_ns.engine.checkpoint import CheckpointError, checkpoints_in, find_checkpoint, load_checkpoint
from dyn3d_ns.engine.config_file import load_config
from dyn3d_ns.engine.trainer import DynamicTrainer
from dyn3d_ns.io.errors import UserError

STEPS = 24


@pytest.fixture
def assert_same_training(checkpoint_differences) -> Callable[[Path, Path], None]:
    """Return a comparison of everything: parameters, moments, schedules, random generators, image order."""

    def compare(a: Path, b: Path) -> None:
        assert checkpoint_differences(load_checkpoint(a), load_checkpoint(b)) == []

    return compare


def only_checkpoint(folder: Path) -> Path:
    """Return the one checkpoint in a folder."""
    (path,) = folder.glob("step-*.ckpt")
    return path


def test_two_runs_with_one_seed_agree(training, unbroken, assert_same_training) -> None:
    again = training.run(training.config("again"))
    assert_same_training(unbroken, only_checkpoint(again.checkpoint_dir))


def test_another_seed_trains_otherwise(training, unbroken, checkpoint_differences) -> None:
    config = training.config("other-seed")
    config.machine.seed = 7
    other = training.run(config)
    assert checkpoint_differences(
        load_checkpoint(unbroken), load_checkpoint(only_checkpoint(other.checkpoint_dir))
    )


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_resumed_run_ends_the_same(
    training, unbroken, assert_same_training, number, exit_code
) -> None:
    config = training.config(f"signal-{exit_code}")
    assert training.run_until_interrupted(config, at_step=12, number=number) == exit_code
    saved = only_checkpoint(config.get_checkpoint_dir())
    assert saved.name == "step-000000012.ckpt"
    resumed = training.run(training.config(f"resumed-{exit_code}", load_dir=config.get_checkpoint_dir()))
    assert_same_training(unbroken, only_checkpoint(resumed.checkpoint_dir))


WAITING = """
import signal, sys, time
from pathlib import Path
folder, scene, output, name = sys.argv[1:]
sys.path[:0] = [folder, str(Path(folder).parent)]
from conftest import Training
training = Training(Path(scene), Path(output))
def wait_for_sigterm():
    print("here", flush=True)
    while signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        time.sleep(0.01)
training.run(training.config(name, steps_per_save=2), 13, wait_for_sigterm)
"""


def start_training(training, name: str, *before: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own; return it once it waits for SIGTERM in step 13."""
    arguments = [str(Path(__file__).parent), str(training.scene), str(training.output), name]
    command = [*before, sys.executable, "-W", "ignore", "-c", WAITING, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line.strip() == "here" for line in process.stdout)
    return process


def test_kill_9_leaves_a_whole_checkpoint(training, unbroken, assert_same_training) -> None:
    with start_training(training, "killed") as process:
        process.kill()
    folder = training.config("killed").get_checkpoint_dir()
    assert only_checkpoint(folder).name == "step-000000012.ckpt"
    # What a kill in the midst of writing leaves behind must not be taken for a checkpoint.
    (folder / "step-000000000.tmp").write_bytes(b"half a checkpoint")
    resumed = training.run(training.config("resumed-killed", load_dir=folder))
    assert_same_training(unbroken, only_checkpoint(resumed.checkpoint_dir))


def test_in_the_background_sigterm_saves_and_ctrl_c_does_nothing(training, deaf_to_ctrl_c) -> None:
    with start_training(training, "background", *deaf_to_ctrl_c) as process:
        process.send_signal(signal.SIGINT)
        process.terminate()
        assert process.stdout is not None
        said = " ".join(process.stdout.read().split())
    assert process.returncode == 143
    assert f"Stopped after 14 of {STEPS} steps. Resume with" in said and "Ctrl-C" not in said
    folder = training.config("background").get_checkpoint_dir()
    assert only_checkpoint(folder).name == "step-000000013.ckpt"


def test_a_signal_in_the_last_step_finds_a_finished_training(
    training, unbroken, assert_same_training, capsys
) -> None:
    config = training.config("last-step")
    with pytest.raises(SystemExit) as ended:
        training.run(config, STEPS - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert ended.value.code == 143
    said = capsys.readouterr().out
    assert "Trained." in said and "Resume" not in said
    assert_same_training(unbroken, only_checkpoint(config.get_checkpoint_dir()))


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.usefixtures("default_signals")
def test_ctrl_c_while_a_training_is_saved_does_not_throw_it_away(
    training, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a training, and where one is stopped by a first Ctrl-C."""
    save = DynamicTrainer.save_checkpoint

    def interrupted(self: DynamicTrainer, step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(self, step)

    monkeypatch.setattr(DynamicTrainer, "save_checkpoint", interrupted)
    config = training.config(f"impatient-{stopped}", max_num_iterations=2)
    with pytest.raises(SystemExit) as ended:
        training.run(config, 0 if stopped else -1, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ended.value.code == 130
    assert only_checkpoint(config.get_checkpoint_dir()).name == f"step-{0 if stopped else 1:09d}.ckpt"


@pytest.mark.parametrize("steps", [0, -5])
def test_a_training_has_a_step_at_least(training, steps: int) -> None:
    with pytest.raises(UserError, match=f"--max-num-iterations must be at least 1, got {steps}"):
        training.config("none", max_num_iterations=steps).setup(local_rank=0, world_size=1)


def test_the_step_to_resume_from_is_not_the_one_that_evaluations_show(training, unbroken) -> None:
    config = training.config("from-a-step", load_dir=unbroken.parent, load_step=STEPS - 1)
    config.save_config()
    saved = load_config(config.get_base_dir() / "config.yml")
    assert saved.load_step is None and saved.resumed_checkpoint() == unbroken
    with pytest.raises(CheckpointError, match="--load-step 3 needs --load-dir"):
        training.config("nowhere", load_step=3).resumed_checkpoint()
    with pytest.raises(CheckpointError, match="give --load-dir .* or --load-checkpoint .*, not both"):
        training.config("both", load_dir=unbroken.parent, load_checkpoint=unbroken).resumed_checkpoint()


def limit_file_size(limit: int) -> None:
    """Make this process's writes beyond a size fail, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(training, unbroken, assert_same_training) -> None:
    config = training.config("full-disk")
    size = unbroken.stat().st_size
    try:
        # After step 10's checkpoint: step 20's cannot be written, nor the last.
        with pytest.raises(CheckpointError, match="(?s)step-000000023.*step-000000010.*--load-dir"):
            training.run(config, 14, lambda: limit_file_size(size // 2))
    finally:
        limit_file_size(resource.RLIM_INFINITY)
    folder = config.get_checkpoint_dir()
    assert [path.name for path in folder.iterdir()] == ["step-000000010.ckpt"]
    resumed = training.run(training.config("resumed-full-disk", load_dir=folder))
    assert_same_training(unbroken, only_checkpoint(resumed.checkpoint_dir))


def test_a_finished_training_is_not_trained_further(training, unbroken, assert_same_training) -> None:
    resumed = training.run(training.config("finished", load_dir=unbroken.parent))
    assert_same_training(unbroken, only_checkpoint(resumed.checkpoint_dir))
    assert only_checkpoint(resumed.checkpoint_dir).name == unbroken.name


def test_checkpoints_load_without_any_allowance(training, unbroken) -> None:
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        assert torch.load(unbroken, weights_only=True)["step"] == STEPS - 1
    finally:
        torch.serialization.add_safe_globals(allowed)


def test_other_data_are_refused_before_anything_is_taken_over(training, unbroken, tmp_path) -> None:
    other = shutil.copytree(training.scene, tmp_path / "other")
    image = next((other / "train").iterdir())
    image.write_bytes(image.read_bytes() + b" ")
    config = training.config("other", load_dir=unbroken.parent)
    config.pipeline.datamanager.data = other
    with pytest.raises(
        CheckpointError, match=f"on {training.scene}, and this one is on {other}, where the im"
    ):
        training.run(config)


def test_no_training_begins_where_no_checkpoint_has_room(training, monkeypatch) -> None:
    monkeypatch.setattr("dyn3d_ns.engine.trainer.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    config = training.config("no-room")
    with pytest.raises(CheckpointError, match="0 MB free: free some space.*--output-dir"):
        training.run(config)
    assert not checkpoints_in(config.get_checkpoint_dir())


def test_a_run_folder_that_is_full_at_the_end_does_not_take_the_training_along(training) -> None:
    config = training.config("full-at-the-end", max_num_iterations=1)

    def block() -> None:
        config.get_checkpoint_dir().write_text("a file where the folder was")

    with pytest.raises(CheckpointError, match="What was trained is saved: --load-dir") as caught:
        training.run(config, 0, block)
    saved = Path(str(caught.value).split("--load-dir ")[-1].split()[0])
    assert load_checkpoint(find_checkpoint(saved))["step"] == 0
    shutil.rmtree(saved)
