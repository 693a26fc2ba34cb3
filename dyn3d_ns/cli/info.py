"""`dyn3d info`: what a file or folder is, and what can be done with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Info:
    """Tell what a folder is: its layout, frames, cameras, times and splits, and what is missing."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A dataset, a processed clip, a training, a video or a folder of images."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> None:
        """Print the description."""
        from dyn3d_ns.io.layouts import describe

        found = describe(self.path)
        if self.json:
            print(json.dumps(asdict(found), indent=2))
            return
        print(f"{self.path}: {found.layout}")
        width = max((len(name) for name in found.facts), default=0)
        for name, value in found.facts.items():
            print(f"  {name:{width}}  {value}")
        for name in found.missing:
            print(f"  missing: {name}")
        for note in found.notes:
            print(f"  note: {note}")
        for command in found.use:
            print(f"  try: {command}")
