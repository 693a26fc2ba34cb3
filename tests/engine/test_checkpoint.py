"""Writing, finding and reading checkpoints, and the state of the random generators."""

from __future__ import annotations

import os
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.engine.checkpoint import (
    RESUMED,
    CheckpointError,
    checkpoint_path,
    explaining_misfits,
    find_checkpoint,
    load_checkpoint,
    require_parts,
    restore_rng,
    rng_state,
    save_checkpoint,
    to_plain,
)
from dyn3d_ns.io.errors import UserError


def test_only_the_latest_is_kept_if_asked_for(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint({"step": step}, tmp_path, step, only_latest=False)
    assert len(list(tmp_path.iterdir())) == 2
    save_checkpoint({"step": 3}, tmp_path, 3, only_latest=True)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003.ckpt"]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="no earlier checkpoint.*--output-dir"):
        save_checkpoint({"step": 1}, tmp_path / "file" / "models", 1, only_latest=True)


def test_find_takes_the_latest_whole_one(tmp_path: Path) -> None:
    models = tmp_path / "nerfstudio_models"
    for step in (5, 100, 20):
        save_checkpoint({"step": step}, models, step, only_latest=False)
    (models / "step-000000000.tmp").write_bytes(b"")
    (models / "step-000000900.ckpt.tmp").write_bytes(b"")
    assert find_checkpoint(models) == find_checkpoint(tmp_path) == checkpoint_path(models, 100)
    assert find_checkpoint(models, 20) == checkpoint_path(models, 20)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7.*\[5, 20, 100\]"):
        find_checkpoint(models, 7)
    with pytest.raises(CheckpointError, match="--load-dir takes the folder"):
        find_checkpoint(tmp_path / "elsewhere")


def test_stock_commands_overlook_an_unfinished_file(tmp_path: Path) -> None:
    """`ns-eval` reads a step out of every name in the folder and takes the highest."""
    save_checkpoint({"step": 30}, tmp_path, 30, only_latest=True)
    (tmp_path / "step-000000000.tmp").write_bytes(b"")
    steps = sorted(int(x[x.find("-") + 1 : x.find(".")]) for x in os.listdir(tmp_path))
    assert steps[-1] == 30


def test_a_damaged_checkpoint_is_named_with_its_neighbours(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint({"x": torch.rand(1000)}, tmp_path, step, only_latest=False)
    path = checkpoint_path(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"step-000000002.*--load-step.*step-000000001"):
        load_checkpoint(path)


def test_what_cannot_be_read_safely_is_named_without_torchs_advice_to_read_it_unsafely(
    tmp_path: Path,
) -> None:
    torch.save({"step": Fraction(1, 2)}, tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("garbage")
    for name, said in (("other", "it names fractions.Fraction"), ("text", "it is damaged, or no checkpoint")):
        with pytest.raises(CheckpointError, match=rf"cannot read checkpoint .*{name}.ckpt: {said}; there is"):
            load_checkpoint(tmp_path / f"{name}.ckpt")


def test_numpy_values_become_plain() -> None:
    plain = to_plain({"a": [np.float64(1.5), (np.int64(2),)], "b": np.arange(3), "c": torch.ones(1)})
    assert type(plain["a"][0]) is float and type(plain["a"][1][0]) is int
    assert torch.equal(plain["b"], torch.arange(3)) and torch.equal(plain["c"], torch.ones(1))


def draw() -> tuple[float, float, float, float]:
    """Draw one number from each global generator."""
    return random.random(), random.gauss(0, 1), float(np.random.normal()), float(torch.randn(()))  # noqa: NPY002


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    draw()  # leaves a second Gaussian number waiting in NumPy's and Python's generators
    path = save_checkpoint({"rng": rng_state()}, tmp_path, 1, only_latest=True)
    expected = [draw() for _ in range(3)]
    restore_rng(load_checkpoint(path)["rng"])
    assert [draw() for _ in range(3)] == expected


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="x.ckpt is no checkpoint of a method of ours: it lacks 'rng'"):
        require_parts({part: 0 for part in RESUMED if part != "rng"}, tmp_path / "x.ckpt", RESUMED)
    file = tmp_path / "step-000000001.ckpt"
    file.touch()
    with pytest.raises(CheckpointError, match="is a file.*--load-checkpoint"):
        find_checkpoint(file)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run/nerfstudio_models/x.ckpt"
    said = r"size mismatch for weight.*run/config\.yml"
    with pytest.raises(CheckpointError, match=said), explaining_misfits(path):
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(3, 3).state_dict())
    with pytest.raises(UserError, match="^mine$"), explaining_misfits(path):
        raise UserError("mine")
