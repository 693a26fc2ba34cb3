"""Every option that stands in ``--help`` has somebody who reads it, and no model is asked what it can."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import nerfstudio
import pytest
import tyro

ROOT = Path(__file__).resolve().parents[1]
OURS = [p for folder in ("dyn3d_ns", "method_configs", "dataparsers") for p in (ROOT / folder).rglob("*.py")]
THEIRS = (
    "configs/experiment_config.py",
    "data/datamanagers/full_images_datamanager.py",
    "engine/trainer.py",
    "scripts/train.py",
)
"""Nerfstudio's own code that our trainings run and that reads options."""


def configs() -> dict[type, Any]:
    """Return one instance of every settings class that a command of ours takes."""
    found: dict[type, Any] = {}

    def walk(config: Any) -> None:
        found.setdefault(type(config), config)
        for item in dataclasses.fields(config):
            value = getattr(config, item.name)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                walk(value)

    for group in ("nerfstudio.method_configs", "nerfstudio.dataparser_configs"):
        for entry in entry_points(group=group):
            if entry.value.startswith("dyn3d_ns."):
                walk(entry.load().config)
    from dyn3d_ns.video.pipeline import PipelineSettings

    walk(PipelineSettings())
    del found[PipelineSettings]  # its fields are the stages, gone through by name
    return {cls: config for cls, config in found.items() if cls.__module__.startswith("dyn3d_ns.")}


CONFIGS = configs()


def shown(cls: type) -> Iterator[str]:
    """Return the names of a settings class's options, those that it hides left out."""
    hints = get_type_hints(cls, include_extras=True)
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        hidden = get_origin(hint) is Annotated and tyro.conf.Suppress[int].__metadata__[0] in get_args(hint)
        if item.name != "_target" and not hidden:
            yield item.name


@pytest.fixture(scope="module")
def read() -> set[str]:
    """Return every attribute that is read, not assigned, in our code or in what Nerfstudio runs of it."""
    package = Path(str(nerfstudio.__path__[0]))
    names: set[str] = set()
    for path in [*OURS, *(package / name for name in THEIRS)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
    return names


def test_settings_are_found() -> None:
    names = {cls.__name__ for cls in CONFIGS}
    assert {"DynamicTrainerConfig", "DynamicPipelineConfig", "DynamicDataManagerConfig"} <= names
    assert {
        "RayDataManagerConfig",
        "DynamicObjectDataParserConfig",
        "PlanesLosses",
        "AdjustSettings",
    } <= names


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_every_option_has_a_reader(cls: type, read: set[str]) -> None:
    unread = [name for name in shown(cls) if name not in read]
    assert not unread, f"{cls.__name__} has options that nothing reads: {unread}"


PROBES = re.compile(r"(?:getattr|hasattr)\(\s*(?:[\w.]*\.)?(?:model|_model|method)\s*,")


def test_no_model_is_asked_what_it_can() -> None:
    """Hooks of methods are those of DynamicMethod."""
    files = [*OURS, *(ROOT / "scripts").rglob("*.py")]
    found = [f"{path.name}: {match[0]}" for path in files for match in PROBES.finditer(path.read_text())]
    assert not found, found
