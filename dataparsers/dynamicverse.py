"""Clips that `dyn3d process` made, and scenes of DynamicVerse."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.dataparsers.video import (  # pyright: ignore[reportMissingImports]
    VideoDataParser,
    VideoDataParserConfig,
)
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.clip import ClipFootage


@dataclass
class DynamicVerseDataParserConfig(VideoDataParserConfig):
    """Clip made by `dyn3d process`, or scene of DynamicVerse"""

    _target: type = field(default_factory=lambda: DynamicVerseDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/clip")
    """Folder of the clip: the one with rgb/."""
    eval_interval: int = 8
    """Every so many frames one is held out to evaluate on, never the last; 0 holds none out."""
    longer_side: int | None = None
    """Longer side that images are shrunk to, pixels; None leaves them as they are."""
    load_points: bool = True
    """Start from the fused scene, or from the points that the cameras were found with."""


@dataclass
class DynamicVerseDataParser(VideoDataParser):
    """Parse a clip's folder."""

    config: DynamicVerseDataParserConfig
    last_frame_trains = True

    def open(self) -> Footage:
        """Open the clip."""
        return ClipFootage(Path(self.config.data))


DynamicVerseDataParserSpecification = DataParserSpecification(
    config=DynamicVerseDataParserConfig(),
    description="Clips made by dyn3d process, and scenes of DynamicVerse",
)
