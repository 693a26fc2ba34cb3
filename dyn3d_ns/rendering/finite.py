"""Whether all values of a call are finite, asked once for all its arrays."""

from dyn3d_ns.kernels.jit import kernel
from dyn3d_ns.kernels.types import F32
from dyn3d_ns.kernels.vector import LANES, bits, first_lanes, fma, splat
from dyn3d_ns.kernels.vector_memory import gather, load


@kernel
def all_finite(a: F32, b: F32, c: F32, d: F32, e: F32, f: F32, g: F32, h: F32) -> bool:
    """Return whether flat float32 arrays, some of them empty, hold no NaN and no infinite value."""
    zero = splat(0.0)
    total = zero  # a value times zero is not zero if it is not finite
    for array in (a, b, c, d, e, f, g, h):
        whole = len(array) // LANES * LANES
        for i in range(0, whole, LANES):
            total = fma(load(array, i), zero, total)
        total = fma(gather(array, whole, 1, first_lanes(len(array) - whole)), zero, total)
    return bits(total >= 0.0) == (1 << LANES) - 1
