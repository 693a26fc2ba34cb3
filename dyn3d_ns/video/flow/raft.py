"""RAFT (Teed and Deng, ECCV 2020) as torchvision has it, with weights from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.parts import Configured

_SMALLEST_SIDE = 128
"""Below this the coarsest level of the correlation pyramid has no pixels."""


class RaftFlow(Configured):
    """Flow by torchvision's raft_small or raft_large; which one it is shows in the weights."""

    def __init__(self, weights: Path, device: str = "cpu", updates: int = 12) -> None:
        import torch

        self.device, self.updates = torch.device(device), updates
        self.model = _load(weights).to(self.device).eval()

    @classmethod
    def from_settings(cls, settings: Any) -> RaftFlow:
        """Build it from the settings of the stage `flow`."""
        if settings.weights is None:
            raise StageError(
                "--flow.method raft needs --flow.weights FILE, the state dict of torchvision's raft_small or "
                "raft_large (torchvision.models.optical_flow names where to get one)"
            )
        return cls(settings.weights, settings.device)

    def __call__(
        self, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
    ) -> Float32[np.ndarray, "H W 2"]:
        """Return the flow from a to b in pixels."""
        import torch

        height, width = a.shape[:2]
        pad = (0, _padding(width), 0, _padding(height))

        def prepare(image: np.ndarray) -> torch.Tensor:
            tensor = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float() / 127.5 - 1
            return torch.nn.functional.pad(tensor, pad, mode="replicate")

        with torch.inference_mode():
            flow = self.model(prepare(a), prepare(b), num_flow_updates=self.updates)[-1]
        return flow[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()


def _padding(side: int) -> int:
    """Return by how much a side falls short of a multiple of 8, or of the smallest that RAFT takes."""
    return max(-(-side // 8) * 8, _SMALLEST_SIDE) - side


def _load(path: Path) -> Any:
    import torch
    from torchvision.models.optical_flow import raft_large, raft_small

    if not path.is_file():
        raise StageError(f"--flow.weights: {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # What is no such file makes the unpickler fail in many ways.
    except Exception as error:
        raise StageError(f"--flow.weights: {path} is not a readable state dict ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise StageError(f"--flow.weights: {path} holds a {type(state).__name__}, not a state dict")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    build = raft_large if any(key.startswith("mask_predictor.") for key in state) else raft_small
    model = build(weights=None, progress=False)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]
        raise StageError(
            f"--flow.weights: {path} does not fit torchvision's {build.__name__}: {' '.join(first).strip()}"
        ) from error
    return model
