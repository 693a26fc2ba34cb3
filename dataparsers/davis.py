"""DAVIS: one sequence with its annotations, and the cameras that `dyn3d process` finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.dataparsers.video import (  # pyright: ignore[reportMissingImports]
    VideoDataParser,
    VideoDataParserConfig,
)
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.davis import DavisFootage, DavisMasks
from dyn3d_ns.io.sequences import find_davis


@dataclass
class DavisDataParserConfig(VideoDataParserConfig):
    """Sequence of DAVIS; `dyn3d process davis:ROOT/NAME` finds its cameras"""

    _target: type = field(default_factory=lambda: DavisDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/DAVIS")
    """Root of DAVIS, with JPEGImages/ and Annotations/, or the folder of one sequence in JPEGImages/."""
    sequence: str | None = None
    """Name of the sequence; may be left out where there is one."""
    resolution: str | None = None
    """Folder of JPEGImages/ to take; 480p, or the largest without that."""
    masks: DavisMasks = "auto"
    """Where masks to train with come from: annotations, estimated by `dyn3d process`, or none; auto takes
    annotations if every frame has one."""
    clip: Path | None = None
    """Folder that `dyn3d process` wrote; DATA/dyn3d/RESOLUTION/SEQUENCE if None."""


@dataclass
class DavisDataParser(VideoDataParser):
    """Parse a sequence of DAVIS."""

    config: DavisDataParserConfig

    def open(self) -> Footage:
        """Open the sequence and its clip."""
        config = self.config
        sequence = find_davis(Path(config.data), config.sequence, config.resolution)
        return DavisFootage(sequence, config.masks, config.clip)


DavisDataParserSpecification = DataParserSpecification(
    config=DavisDataParserConfig(),
    description="DAVIS: one sequence with its annotations, and cameras of dyn3d process",
)
