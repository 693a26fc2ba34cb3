"""Flow both ways, each checked against the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.geometry.optical_flow import consistent
from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.parts import FlowEstimator


def flow_both_ways(
    estimator: FlowEstimator, a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"]
) -> tuple[Flow, Flow]:
    """Estimate the flow from a to b and back, each with its consistency mask."""
    forward, backward = estimator(a, b), estimator(b, a)
    return Flow(forward, consistent(forward, backward)), Flow(backward, consistent(backward, forward))
