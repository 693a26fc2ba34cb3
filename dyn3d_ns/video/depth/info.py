"""Where the depth of a clip came from, kept beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dyn3d_ns.io.atomic import write_json
from dyn3d_ns.io.clip.workspace import Workspace

TRIANGULATED = "triangulated"


def info_path(workspace: Workspace) -> Path:
    """Return the file that says where the depth came from."""
    return workspace.depth_path.parent / "info.json"


def write_info(workspace: Workspace, source: str, **details: Any) -> None:
    """Say where the depth came from, and what else is worth knowing."""
    write_json(info_path(workspace), {"source": source, **details})


def is_triangulated(workspace: Workspace) -> bool:
    """Tell whether the depth was triangulated from the cameras' motion (not given, nor from a network)."""
    try:
        return json.loads(info_path(workspace).read_text(encoding="utf-8"))["source"] == TRIANGULATED
    except (OSError, ValueError, KeyError, TypeError):
        return False
