"""Whose run a folder is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nerfstudio.configs.experiment_config import ExperimentConfig

from dyn3d_ns.engine.run_folder import claim
from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from dyn3d_ns.io.errors import UserError

HOLD = """
import sys
from pathlib import Path
from dyn3d_ns.engine.run_folder import claim
claim(Path(sys.argv[1]), None)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_training_is_refused_until_the_first_ends_however_it_does(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another training is writing to .*run.*--timestamp"):
            claim(tmp_path / "run", None)
        claim(tmp_path / "another-run", None)
    finally:
        other.kill()
        other.wait()
    claim(tmp_path / "run", None)
    claim(tmp_path / "run", None)


def test_a_stream_is_gone_on_with_but_not_written_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("stream/stream.json", "nerfstudio_models/step-000000199.ckpt"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("{}")
    for other in (None, tmp_path / "other"):
        with pytest.raises(UserError, match="holds a stream already: .*--load-dir"):
            claim(run, other)
    claim(run, tmp_path / "other" / ".." / "run")


def test_a_stream_that_no_checkpoint_goes_with_is_begun_anew(tmp_path: Path) -> None:
    """What a kill between frame 0 and its checkpoint leaves."""
    (tmp_path / "run" / "stream").mkdir(parents=True)
    (tmp_path / "run" / "stream" / "stream.json").write_text("{}")
    (tmp_path / "run" / "nerfstudio_models").mkdir()
    claim(tmp_path / "run", None)


def begun(output: Path, **changes: object) -> DynamicTrainerConfig:
    """Return the configuration of a training after `ns-train` has named its run."""
    config = DynamicTrainerConfig(method_name="m", experiment_name="e", output_dir=output)
    for name, value in changes.items():
        setattr(config, name, value)
    config.set_timestamp()
    return config


def test_trainings_of_one_second_get_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ns-train", "m"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(ExperimentConfig, "set_timestamp", lambda self: setattr(self, "timestamp", "now"))
    names = [begun(tmp_path).timestamp for _ in range(3)]
    assert names == ["now", "now-2", "now-3"]
    assert begun(tmp_path, timestamp="mine").timestamp == "mine"


def test_a_training_that_begins_with_anothers_config_leaves_its_checkpoints_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "e/m/before"
    (run / "nerfstudio_models").mkdir(parents=True)
    (run / "nerfstudio_models/step-000000009.ckpt").touch()
    monkeypatch.setattr(sys, "argv", ["ns-train", "m", "--load-config", str(run / "config.yml")])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    assert begun(tmp_path, timestamp="before").timestamp != "before"
    assert begun(tmp_path, timestamp="before", load_dir=run).timestamp == "before"
