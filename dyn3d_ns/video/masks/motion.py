"""Masks of what moves, from the flow and the pictures of a clip; streams from frame to frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int32

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.masks.carry import chain, vote
from dyn3d_ns.video.masks.clean import clean_mask
from dyn3d_ns.video.masks.instances import Linker
from dyn3d_ns.video.masks.residuals import PairResidual, pair_residual
from dyn3d_ns.video.masks.settings import MotionSettings

Step = Callable[[], None]


class NeighbourFlows:
    """Flow from a frame to those around it: read from the tree, chained over more than one frame."""

    def __init__(self, workspace: Workspace, num_frames: int) -> None:
        self.num_frames = num_frames
        self._read = lru_cache(maxsize=12)(workspace.flow)

    def next_to(self, i: int, step: int) -> Flow | None:
        """Return the flow to the frame before (-1) or after (+1); None at the clip's ends."""
        return self._read(i, i + step) if 0 <= i + step < self.num_frames else None

    def around(self, i: int, span: int) -> list[tuple[int, Flow]]:
        """Return up to `span` frames each way with the flows to them."""
        flows = []
        for step in (1, -1):
            flow = None
            for k in range(1, span + 1):
                onward = self.next_to(i + (k - 1) * step, step)
                if onward is None:
                    break
                flow = onward if flow is None else chain(flow, onward)
                flows.append((i + k * step, flow))
        return flows


def pair_residuals(flows: Sequence[tuple[int, Flow]]) -> list[PairResidual]:
    """Measure what an unknown camera's motion does not explain of a frame's flows to other frames."""
    return [pair_residual(flow.flow, flow.valid) for _, flow in flows]


def backward_votes(workspace: Workspace, flows: NeighbourFlows, share: float, step: Step) -> None:
    """Write, for every frame, its scores blended with those of all later frames, the nearest most."""
    later = None
    for i in range(flows.num_frames - 1, -1, -1):
        onward = flows.next_to(i, 1)
        score = workspace.motion(i)
        later = score if later is None or onward is None else vote(score, later, onward, share)
        workspace.write_motion(i, later, "later")
        step()


def label_frames(
    workspace: Workspace,
    flows: NeighbourFlows,
    linker: Linker,
    settings: MotionSettings,
    step: Step,
) -> None:
    """Write provisional instance ids of every frame, from the votes of all frames before and after it."""
    earlier: Float32[np.ndarray, "H W"] | None = None
    for i in range(flows.num_frames):
        back, onward = flows.next_to(i, -1), flows.next_to(i, 1)
        score = workspace.motion(i)
        earlier = score if earlier is None or back is None else vote(score, earlier, back, settings.memory)
        image = workspace.image(i)
        both = 0.5 * (earlier + workspace.motion(i, "later"))
        mask = clean_mask(image, both, settings.threshold, settings.min_area, settings.outlines)
        labels = linker.step(image, mask, workspace.motion(i, "evidence"), back, onward)
        workspace.write_labels(i, labels)
        step()


def renumber(labels: Int32[np.ndarray, "H W"], ids: dict[int, int]) -> Int32[np.ndarray, "H W"]:
    """Replace ids; those that are not named become 0."""
    table = np.zeros(max([int(labels.max(initial=0)), *ids]) + 1, np.int32)
    for old, new in ids.items():
        table[old] = new
    return table[labels]
