"""Settings of the stage `flow`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyn3d_ns.video.settings import StageSettings


@dataclass(frozen=True)
class FlowSettings(StageSettings):
    """How optical flow is estimated."""

    method: str = "dis"
    """`dis`, `farneback`, `raft` (needs --flow.weights), a plug-in's name, or module:Class."""
    preset: Literal["fast", "medium", "fine"] = "fine"
    """Effort of `dis`."""
    weights: Path | None = None
    """Weight file of a network: the state dict of torchvision's raft_small or raft_large."""
    device: str = "cpu"
    """Where a network runs: cpu, cuda."""
    flo: bool = True
    """Write the flow to the next frame as .flo as well."""
