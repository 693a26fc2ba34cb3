"""What the user, or the search for motion, tells a segmenter of the objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from dyn3d_ns.io.damage import CONTENT_ERRORS, JSON_ERRORS
from dyn3d_ns.io.errors import StageError


@dataclass(frozen=True)
class Prompt:
    """One object: where it is in one frame, or what it is called."""

    name: str
    frame: int = 0
    box: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in pixels of the extracted frames."""
    mask: Bool[np.ndarray, "H W"] | None = None
    details: str = ""
    """A sentence on its looks."""


def read_boxes(path: Path, num_frames: int, width: int, height: int) -> list[Prompt]:
    """Read `{"objects": [{"name": "dog", "frame": 0, "box": [left, top, right, bottom]}]}`.

    Raises:
        StageError: it is no such file, or a box or a frame lies outside the clip.
    """
    content = _read_json(path)
    try:
        prompts = [
            Prompt(
                str(item.get("name", f"object {k}")),
                int(item.get("frame", 0)),
                tuple(map(float, item["box"])),  # type: ignore[arg-type]
            )
            for k, item in enumerate(content["objects"], 1)
        ]
    except CONTENT_ERRORS as error:
        raise StageError(
            f'{path} must look like {{"objects": [{{"name": "dog", "frame": 0, "box": [10, 20, 90, 80]}}]}} '
            f"({type(error).__name__}: {error})"
        ) from error
    for prompt in prompts:
        if not 0 <= prompt.frame < num_frames:
            raise StageError(f"{path}: {prompt.name} is in frame {prompt.frame}, the clip has {num_frames}")
        left, top, right, bottom = prompt.box if prompt.box and len(prompt.box) == 4 else (0.0,) * 4
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise StageError(
                f"{path}: the box {prompt.box} of {prompt.name} must be left, top, right, bottom inside "
                f"{width}x{height} pixels"
            )
    if not prompts:
        raise StageError(f"{path} names no object")
    return prompts


def read_names(path: Path) -> list[Prompt]:
    """Read names of objects as the stage `describe` writes them: `dynamic`, and `reasoning` by name."""
    content = _read_json(path)
    names, reasons = content.get("dynamic"), content.get("reasoning", {})
    if not isinstance(names, list) or not names or not isinstance(reasons, dict):
        raise StageError(f'{path} must hold {{"dynamic": ["name", ...], "reasoning": {{"name": "..."}}}}')
    return [Prompt(str(name), details=str(reasons.get(name, ""))) for name in names]


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise StageError(f"{path} does not exist")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except JSON_ERRORS as error:
        raise StageError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise StageError(f"{path} must hold a JSON object")
    return content
