"""Flow between any two frames of a clip."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from jaxtyping import Bool, UInt8

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.flow.consistency import flow_both_ways
from dyn3d_ns.video.flow.opencv import DisFlow

_FLOW_BYTES = 128_000_000
"""Memory for flow that is expected to be asked for."""


class FlowSource:
    """Flow between any two frames: read where it is on disk, else computed.

    What is computed comes both ways at once; the way back is held, in half precision as on disk, until it is
    asked for or others need the room.
    """

    def __init__(self, workspace: Workspace, images_held: int = 96, flow_bytes: int = _FLOW_BYTES) -> None:
        self.workspace = workspace
        self._estimator = DisFlow()
        self._images: OrderedDict[int, UInt8[np.ndarray, "H W 3"]] = OrderedDict()
        self._held = images_held
        self._paths = workspace.images()
        self._back: OrderedDict[tuple[int, int], tuple[np.ndarray, Bool[np.ndarray, "H W"]]] = OrderedDict()
        self._flow_bytes = flow_bytes

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return a frame; the last ones used are held."""
        if frame not in self._images:
            self._images[frame] = self._paths[frame]
            if len(self._images) > self._held:
                self._images.popitem(last=False)
        self._images.move_to_end(frame)
        return self._images[frame]

    def __call__(self, source: int, target: int) -> Flow:
        """Return the flow from one frame to another with its consistency mask."""
        if self.workspace.has_flow(source, target):
            return self.workspace.flow(source, target)
        held = self._back.pop((source, target), None)
        if held is not None:
            return Flow(held[0].astype(np.float32), held[1])
        forward, backward = flow_both_ways(self._estimator, self.image(source), self.image(target))
        self._back[target, source] = backward.flow.astype(np.float16), backward.valid
        room = max(1, self._flow_bytes // (5 * backward.valid.size))
        while len(self._back) > room:
            self._back.popitem(last=False)
        return forward
