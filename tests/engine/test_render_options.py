"""Options of ours are taken out of the command line of `ns-render`, where a method of ours has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dyn3d_ns.engine import render_options
from dyn3d_ns.engine.render_options import BACKGROUND, SCENE, check, chosen, take
from dyn3d_ns.io.errors import UserError


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_options, "_taken", {})


@pytest.fixture
def ours(tmp_path: Path) -> str:
    path = tmp_path / "config.yml"
    path.write_text("model: !!python/object:dyn3d_ns.models.mononerf.model.MonoNerfModelConfig\n")
    return str(path)


@pytest.fixture
def stock(tmp_path: Path) -> str:
    path = tmp_path / "stock.yml"
    path.write_text("model: !!python/object:nerfstudio.models.nerfacto.NerfactoModelConfig\n")
    return str(path)


@pytest.mark.parametrize(
    "given",
    [
        ["--edit.background-scene", "B"],
        ["--edit.background-scene=B"],
        ["--edit.background_scene", "B"],
        ["--edit.background_scene=B"],
        ["--edit.background-scene", "A", "--edit.background-scene", "B"],
    ],
)
@pytest.mark.parametrize("program", ["/usr/bin/ns-render", "lib/nerfstudio/scripts/render.py"])
def test_the_option_and_its_value_are_taken(ours: str, given: list[str], program: str) -> None:
    for around in (["--load-config", ours], [f"--load_config={ours}"]):
        arguments = [program, "dataset", *around, *given, "--split", "test"]
        take(arguments)
        assert arguments == [program, "dataset", *around, "--split", "test"]
        assert (chosen(BACKGROUND), chosen(SCENE)) == ("B", None)
    check(arguments)


def test_both_options_go_together(ours: str) -> None:
    arguments = ["ns-render", "interpolate", "--edit.scene", "B", "--load-config", ours, f"{BACKGROUND}=A"]
    take(arguments)
    assert arguments == ["ns-render", "interpolate", "--load-config", ours]
    assert (chosen(SCENE), chosen(BACKGROUND)) == ("B", "A")
    check(arguments)


@pytest.mark.parametrize("given", [[BACKGROUND], [f"{BACKGROUND}="], [BACKGROUND, "--split", "test"]])
def test_an_option_without_a_value_is_named(ours: str, given: list[str]) -> None:
    arguments = ["ns-render", "dataset", "--load-config", ours, *given]
    take(arguments)
    assert arguments == ["ns-render", "dataset", "--load-config", ours, *given[1:]]
    with pytest.raises(UserError, match="--edit.background-scene needs the name of a scene"):
        check(arguments)


def test_images_of_a_dataset_have_their_own_scene(ours: str) -> None:
    arguments = ["ns-render", "dataset", "--load-config", ours, SCENE, "B"]
    take(arguments)
    with pytest.raises(UserError, match="renders each image in its own scene"):
        check(arguments)


def test_other_commands_and_stock_methods_are_left_alone(ours: str, stock: str, tmp_path: Path) -> None:
    for words in (
        ["ns-eval", "--load-config", ours],
        ["ns-render", "dataset", "--load-config", stock],
        ["ns-render", "dataset", "--load-config", ours, "--load-config", stock],
        ["ns-render", "dataset", "--load-config", str(tmp_path / "gone.yml")],
        ["ns-render", "dataset", "--load-config"],
        ["ns-render"],
    ):
        arguments = [words[0], BACKGROUND, "B", *words[1:]]
        take(arguments)
        assert arguments == [words[0], BACKGROUND, "B", *words[1:]] and chosen(BACKGROUND) is None
    take([])
    # Nerfstudio reads the last one.
    arguments = ["ns-render", "--load-config", stock, "--load-config", ours, BACKGROUND, "B"]
    take(arguments)
    assert chosen(BACKGROUND) == "B"


@pytest.mark.slow
def test_the_help_names_them_and_stock_methods_refuse_them(stock: str) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        command = [str(Path(sys.executable).parent / "ns-render"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    status, text = said("dataset", "--help")
    assert status == 0 and "--edit.background-scene NAME" in text
    status, text = said("dataset", "--load-config", stock, BACKGROUND, "B")
    assert status == 2 and "--edit.background-scene" in text
