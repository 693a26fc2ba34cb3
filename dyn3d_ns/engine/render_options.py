"""Options of ours for `ns-render`, whose own are fixed before our code knows of a scene.

They are taken out of the process's command line when Nerfstudio discovers our plugins, which is before it
reads that line, and only for a training of a method of ours.
"""

from __future__ import annotations

import atexit
from collections.abc import MutableSequence, Sequence
from pathlib import Path
from typing import Literal

from dyn3d_ns import plain_errors
from dyn3d_ns.io.errors import UserError

Option = Literal["--edit.scene", "--edit.background-scene"]
SCENE: Option = "--edit.scene"
"""Scene that a camera path shows, of a training on several."""
BACKGROUND: Option = "--edit.background-scene"
"""Scene before whose background another one is shown."""
HELP = """With a training of dyn3d-mononerf, which learns from several scenes:
  --edit.scene NAME             scene that camera-path and interpolate show; the first if not given
  --edit.background-scene NAME  scene before whose background what moves is shown; its own if not given"""
_METHODS = "dyn3d_ns.models."
"""What the config.yml of every method of ours names."""
_taken: dict[Option, str | None] = {}


def take(arguments: MutableSequence[str]) -> None:
    """Take our options out of the command line of `ns-render`; other commands' are left as they are."""
    if not arguments or not _is_render(arguments[0]):
        return
    if {"-h", "--help"} & set(arguments[1:]):
        atexit.register(_print_help)
    if _is_ours(arguments):
        for option in (SCENE, BACKGROUND):
            _take(option, arguments)


def _print_help() -> None:
    if not plain_errors.reader_left():
        print(HELP)


def check(arguments: Sequence[str]) -> None:
    """Refuse options that make no sense, before a scene is loaded.

    Raises:
        UserError: one has no value, or a scene is chosen for images that each have their own.
    """
    for option, value in _taken.items():
        if not value:
            raise UserError(f"{option} needs the name of a scene of the training")
    if arguments[1:2] == ["dataset"] and SCENE in _taken:
        raise UserError(
            f"`ns-render dataset` renders each image in its own scene; leave {SCENE} out, it is for "
            f"camera-path and interpolate ({BACKGROUND} goes with all of them)"
        )


def chosen(option: Option) -> str | None:
    """Return the scene that an option names; None if it was not given."""
    return _taken.get(option)


def _is_render(program: str) -> bool:
    path = Path(program)
    return path.stem == "ns-render" or path.parts[-3:] == ("nerfstudio", "scripts", "render.py")


def _take(option: Option, arguments: MutableSequence[str]) -> None:
    """Take every mention of an option; the last one counts, as with Nerfstudio's own."""
    index = 1
    while index < len(arguments):
        name, equals, value = arguments[index].partition("=")
        if name.replace("_", "-") != option:
            index += 1
            continue
        del arguments[index]
        if not equals and index < len(arguments) and not arguments[index].startswith("--"):
            value = arguments.pop(index)
        _taken[option] = value or None


def _is_ours(arguments: Sequence[str]) -> bool:
    """Whether the last config.yml named is of a method of ours."""
    config = ""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--load-config":
            config = value if equals else following
    path = Path(config)
    return path.is_file() and _METHODS in path.read_text(encoding="utf-8", errors="replace")
