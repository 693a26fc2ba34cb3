"""Where the checkpoints and the data of a training lie by now: folders are moved, and renamed.

A config.yml states them as they were for `ns-train`, often relative to the folder in which that ran.
Checkpoints are looked for beside the config.yml first. Data are where ``DYN3D_DATA`` says; else where the
config.yml says, seen from the folder in which the training ran, or from the current one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dyn3d_ns.engine.checkpoint import checkpoints_in
from dyn3d_ns.engine.command_checks import value_of
from dyn3d_ns.io.errors import MissingFileError

VARIABLE = "DYN3D_DATA"
"""Environment variable that names the place of the data of a training."""
_opened: ContextVar[Path | None] = ContextVar("opened", default=None)


@contextmanager
def opened(config: Path) -> Iterator[None]:
    """Let what is loaded within know the config.yml that it comes from."""
    token = _opened.set(config)
    try:
        yield
    finally:
        _opened.reset(token)


def config_file() -> Path | None:
    """Return the config.yml that this process works from; None where a training begins without one."""
    named = value_of("--load-config", sys.argv[1:])
    return _opened.get() or (None if named is None else Path(named))


def run_folder() -> Path | None:
    """Return the folder of the config.yml that this process works from, if checkpoints lie there."""
    file = config_file()
    return file.parent if file is not None and checkpoints_in(file.parent) else None


def checkpoints_of(config: Any) -> Path:
    """Return the folder of a training's checkpoints: beside its config.yml, or where that says they are."""
    return run_folder() or config.get_checkpoint_dir()


def find_data(datamanager: Any) -> None:
    """Set the data of a datamanager's configuration to where they lie by now.

    Raises:
        MissingFileError: they are not there; the message says how to name their place.
    """
    file = config_file()
    stored = datamanager.data or getattr(datamanager.dataparser, "data", None)
    if file is None or stored is None:
        return  # a training that begins has its --data
    option = None if _opened.get() else value_of("--data", sys.argv[1:])
    given = option or os.environ.get(VARIABLE)
    if given:
        source = "--data" if option else VARIABLE
        if not Path(given).exists():
            raise MissingFileError(f"{source} is {given}, which is not there; give the place of the data")
        found = Path(given)
        print(f"Data: {found} ({source})")
    else:
        places = _places(file, Path(stored))
        found = next((place for place in places if place.exists()), None)
    if found is None:
        raise MissingFileError(
            f"{file} says that its training was on {stored}, which is not there (looked for: "
            f"{', '.join(map(str, places))}); set {VARIABLE} to where the data are by now, as in "
            f"`{VARIABLE}=/new/place COMMAND …`"
        )
    datamanager.data = datamanager.dataparser.data = found


def _places(file: Path, stored: Path) -> list[Path]:
    """Return where data may lie that a config.yml calls by a name."""
    if stored.is_absolute():
        return [stored]
    # Data of an imported scene lie beside its config.yml.
    beside = file.parent / stored
    if beside.exists():
        return [beside]
    # The training ran in a folder above outputs/<scene>/<method>/<date>, as a rule the one just above.
    return [*(above / stored for above in file.resolve().parent.parents[3:6]), stored.absolute()]
