"""MPI Sintel: one sequence with its ground truth, or with what `dyn3d process` finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.dataparsers.video import (  # pyright: ignore[reportMissingImports]
    VideoDataParser,
    VideoDataParserConfig,
)
from dyn3d_ns.io.footage.base import Footage
from dyn3d_ns.io.footage.sintel import SintelCameras, SintelFootage, SintelMasks
from dyn3d_ns.io.sequences import RenderPass, find_sintel


@dataclass
class SintelDataParserConfig(VideoDataParserConfig):
    """Sequence of MPI Sintel, with its ground truth or what `dyn3d process sintel:ROOT/NAME` finds"""

    _target: type = field(default_factory=lambda: SintelDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/MPI-Sintel")
    """Root of Sintel, with training/ or test/, or the folder of one sequence in one of the passes."""
    sequence: str | None = None
    """Name of the sequence; may be left out where there is one."""
    render_pass: RenderPass | None = None
    """Images to take, final or clean; final if it is there."""
    cameras: SintelCameras = "auto"
    """Where cameras and depth come from: gt, or estimated by `dyn3d process`; auto takes gt where there is
    any."""
    masks: SintelMasks = "auto"
    """Where masks to train with come from: gt, estimated by `dyn3d process`, or none; auto takes gt if there
    is any."""
    clip: Path | None = None
    """Folder that `dyn3d process` wrote; DATA/dyn3d/PASS/SEQUENCE if None."""


@dataclass
class SintelDataParser(VideoDataParser):
    """Parse a sequence of Sintel."""

    config: SintelDataParserConfig

    def open(self) -> Footage:
        """Open the sequence, its ground truth, and its clip where it is needed."""
        config = self.config
        sequence = find_sintel(Path(config.data), config.sequence, config.render_pass)
        return SintelFootage(sequence, config.cameras, config.masks, config.clip)


SintelDataParserSpecification = DataParserSpecification(
    config=SintelDataParserConfig(),
    description="MPI Sintel: one sequence, with ground truth or what dyn3d process finds",
)
