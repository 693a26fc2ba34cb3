"""Trainings whose folder, or whose data, lie elsewhere by now."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dyn3d_ns.engine import places
from dyn3d_ns.engine.trainer import DynamicTrainerConfig
from dyn3d_ns.io.errors import MissingFileError


def settings(data: str) -> SimpleNamespace:
    return SimpleNamespace(data=Path(data), dataparser=SimpleNamespace(data=Path(data)))


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a config.yml beside its checkpoint, below a folder `there`, with `elsewhere` the current one."""
    config = tmp_path / "there/outputs/scene/method/date/config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models/step-000000009.ckpt").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv(places.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["ns-eval", "--load-config", str(config)])
    return config


def test_checkpoints_lie_beside_the_config(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = DynamicTrainerConfig(method_name="m", experiment_name="e", output_dir=tmp_path / "before")
    assert places.checkpoints_of(stated) == moved.parent
    monkeypatch.setattr(sys, "argv", ["dyn3d", "transfer-velocity"])
    assert places.checkpoints_of(stated) == stated.get_checkpoint_dir()
    with places.opened(moved):
        assert places.checkpoints_of(stated) == moved.parent
    (moved.parent / "nerfstudio_models/step-000000009.ckpt").unlink()
    with places.opened(moved):
        assert places.checkpoints_of(stated) == stated.get_checkpoint_dir()


def test_relative_data_are_found_from_the_folder_of_the_training(moved: Path, tmp_path: Path) -> None:
    found = settings("data/scene")
    (tmp_path / "elsewhere/data/scene").mkdir(parents=True)
    places.find_data(found)
    assert found.data == found.dataparser.data == tmp_path / "elsewhere/data/scene"
    (tmp_path / "there/data/scene").mkdir(parents=True)
    places.find_data(found := settings("data/scene"))
    assert found.data == tmp_path / "there/data/scene"


def test_renamed_data_are_named_with_the_variable_that_gives_their_place(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingFileError, match=r"config\.yml says .* on scene, .*set DYN3D_DATA to where"):
        places.find_data(settings("scene"))
    (tmp_path / "renamed").mkdir()
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "renamed"))
    found = settings("scene")
    places.find_data(found)
    assert found.data == found.dataparser.data == tmp_path / "renamed"
    assert "(DYN3D_DATA)" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--data", "nowhere"])
    with pytest.raises(MissingFileError, match="--data is nowhere, which is not there"):
        places.find_data(settings("scene"))


def test_a_training_that_begins_takes_its_data_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ns-train", "m", "--data", "scene"])
    monkeypatch.setenv(places.VARIABLE, "another")
    places.find_data(found := settings("scene"))
    assert found.data == Path("scene")
