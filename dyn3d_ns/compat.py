"""Repairs of Nerfstudio 1.1.5 that every method gets, ours or not, once our plugins are installed.

Only what cannot work otherwise stands here: ``REPAIRS`` is the whole list, with the reason of each; beside it
options of our own leave the command line of `ns-render` (:mod:`dyn3d_ns.engine.render_options`). What our
own methods need is done when one of them is set up (:mod:`dyn3d_ns.engine.commands`), so that stock methods
behave as without our package.

``apply()`` runs when Nerfstudio discovers our dataparsers: the one moment at which code of ours runs in the
process of a stock method. ``DYN3D_NO_COMPAT=1`` in the environment switches all of it off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

from dyn3d_ns import plain_errors
from dyn3d_ns.engine import config_file, render_options


class Repair(NamedTuple):
    """What is changed for every method."""

    apply: Callable[[], None]
    why: str
    """Why it cannot be done for our methods alone."""


def switched_off() -> bool:
    """Tell whether the user wants Nerfstudio as it is."""
    return os.environ.get("DYN3D_NO_COMPAT") == "1"


@cache
def apply() -> None:
    """Put every repair into effect, once."""
    if switched_off():
        return
    for repair in REPAIRS.values():
        repair.apply()
    render_options.take(sys.argv)
    if any(word.startswith("dyn3d-") for word in sys.argv[1:2]):  # `ns-train` of a method of ours
        plain_errors.install()
    config_file.require_named(sys.argv)


def _allow_checkpoint_types() -> None:
    """Let ``torch.load`` (weights_only, the default since torch 2.6) read Nerfstudio's checkpoints.

    Its learning-rate schedulers leave NumPy scalars in the optimizer states. Only what such a
    scalar is made of is allowed, under the names that NumPy 1 and NumPy 2 write.
    """
    import numpy as np
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):  # loads everything by default
        return
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            (scalar, "numpy._core.multiarray.scalar"),
            (scalar, "numpy.core.multiarray.scalar"),
            np.dtype,
            *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
        ]
    )


def _read_our_configurations_safely() -> None:
    """Check a config.yml that names something of ours before any of it is built."""
    config_file.install()


def _read_points_without_open3d() -> None:
    """Read the points of a transforms.json where open3d cannot be loaded, for want of a system library."""
    # Discovery comes after Nerfstudio's own dataparsers are whole; this one imports no datamanager.
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio

    stock = Nerfstudio._load_3D_points

    @wraps(stock)
    def load_points(self: Any, ply_file_path: Path, transform_matrix: Any, scale_factor: float) -> Any:
        try:
            return stock(self, ply_file_path, transform_matrix, scale_factor)
        except (ImportError, OSError):
            import torch

            from dyn3d_ns.io.ply import read_points

            cloud = read_points(ply_file_path)
            xyz = torch.from_numpy(cloud.xyz.copy()).float()
            xyz = (xyz @ transform_matrix[:, :3].T + transform_matrix[:, 3]) * scale_factor
            return {"points3D_xyz": xyz, "points3D_rgb": torch.from_numpy(cloud.rgb.copy())}

    Nerfstudio._load_3D_points = load_points


REPAIRS = {
    "yaml.load": Repair(
        _read_our_configurations_safely,
        "what a config.yml names is built before any class of ours is asked; a file that names nothing of "
        "ours is loaded as ever",
    ),
    "torch.serialization.get_safe_globals": Repair(
        _allow_checkpoint_types,
        "torch 2.6 and later refuse every checkpoint that a stock method writes, and torch keeps one list of "
        "what it accepts; our own checkpoints need none of it",
    ),
    "nerfstudio.data.dataparsers.nerfstudio_dataparser.Nerfstudio._load_3D_points": Repair(
        _read_points_without_open3d,
        "stock methods train on clips of `dyn3d process` through this dataparser, and ours never use it; "
        "it acts only where the stock function has failed",
    ),
}
"""Every change that a stock method can meet, by the full name of what is changed."""
