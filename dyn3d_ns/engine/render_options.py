"""Options of ours for `ns-render`, whose own are fixed before our code knows of a scene.

They are taken out of the process's command line when Nerfstudio discovers our plugins, which is before it
reads that line, and only for a training of a method that has them.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from pathlib import Path

BACKGROUND = "--edit.background-scene"
"""Scene before whose background another one is shown."""
_METHOD = "dyn3d_ns.models.mononerf."
"""What the config.yml of a method with scenes to exchange names."""
_taken: dict[str, str] = {}


def take(arguments: MutableSequence[str]) -> None:
    """Take our options out of the command line of `ns-render`; other commands' are left as they are."""
    if not arguments or Path(arguments[0]).stem != "ns-render" or not _has_scenes(arguments):
        return
    for index, word in enumerate(list(arguments)):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") != BACKGROUND:
            continue
        if equals:
            _taken[BACKGROUND] = value
            del arguments[index]
        elif index + 1 < len(arguments):
            _taken[BACKGROUND] = arguments[index + 1]
            del arguments[index : index + 2]
        return


def background_scene() -> str | None:
    """Return the name of the scene whose background is asked for; None if it is each scene's own."""
    return _taken.get(BACKGROUND)


def _has_scenes(arguments: MutableSequence[str]) -> bool:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--load-config":
            path = Path(value if equals else following)
            return path.is_file() and _METHOD in path.read_text(encoding="utf-8", errors="replace")
    return False
