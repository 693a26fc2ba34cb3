"""SPZ of Niantic, version 3: gzip over quantised columns, one file an instant.

Places are along the axes of the PLY, as all common writers leave them, though the format means y up.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
from jaxtyping import Float, Float32, UInt8

from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.splats import About, Splats

SUFFIX = ".spz"
MAGIC, VERSION = 0x5053474E, 3
MAX_DEGREE = 3
GZIP = 31
"""What zlib calls a window of 32 kB with gzip's header."""
COLOR_SCALE = 0.15
"""Factor of the base colour's coefficients in a byte."""
SIZES = (math.exp(-10), math.exp(255 / 16 - 10))
"""Smallest and largest size."""
LOSS = (
    "places in 24 bits, sizes in steps of 6 % between e^-10 and e^5.9, opacities and colours in bytes, "
    "orientations in ten bits"
)


def fractional_bits(means: Float[np.ndarray, "N 3"]) -> int:
    """Return how many of the 24 bits of a place lie behind the point: 12, fewer in a large scene, more in one
    that does not reach as far as a unit, up to the 24 that readers take.

    Raises:
        CommandError: the scene reaches too far.
    """
    reach = float(np.abs(means).max(initial=0.0))
    size = math.floor(math.log2(max(reach, 1e-6)))
    bits = min(12 + max(0, -size), 22 - size, 24)
    if bits < 0:
        raise CommandError(f"SPZ holds places up to {2**22}, and this scene reaches {reach:.3g}")
    return bits


def require_sizes(scales: Float32[np.ndarray, "N 3"]) -> None:
    """Refuse a scene of which the format would change the size of most Gaussians.

    Raises:
        CommandError: it is too small or too large.
    """
    typical = float(np.median(scales.max(1))) if len(scales) else 1.0
    if not SIZES[0] <= typical <= SIZES[1]:
        raise CommandError(
            f"SPZ holds sizes from {SIZES[0]:.2g} to {SIZES[1]:.3g} units, and most Gaussians have "
            f"{typical:.2g}: take another format, or scale the data before training"
        )


def encode_spz(splats: Splats, about: About) -> bytes:
    """Return an instant as SPZ of version 3.

    Raises:
        CommandError: the degree is above 3, the scene reaches too far, or most sizes are out of range.
    """
    if splats.degree > MAX_DEGREE:
        raise CommandError(f"SPZ holds colours up to degree {MAX_DEGREE}, and these have {splats.degree}")
    bits = fractional_bits(splats.means)
    require_sizes(splats.scales)
    places = np.clip(np.rint(splats.means.astype(np.float64) * 2.0**bits), -(2**23), 2**23 - 1)
    parts = [
        struct.pack("<IIIBBBB", MAGIC, VERSION, len(splats), splats.degree, bits, 0, 0),
        places.astype("<i4").view(np.uint8).reshape(-1, 3, 4)[..., :3].tobytes(),
        _bytes(splats.opacities * 255),
        _bytes((splats.sh[:, 0] * COLOR_SCALE + 0.5) * 255),
        _bytes((np.log(np.maximum(splats.scales, 1e-12)) + 10) * 16),
        _smallest_three(splats.quats).tobytes(),
        _bytes(splats.sh[:, 1:] * 128 + 128),
    ]
    # Columns of such bytes hardly repeat: codes of their frequencies alone take half the time for 0.5 % more.
    packer = zlib.compressobj(1, zlib.DEFLATED, GZIP, strategy=zlib.Z_HUFFMAN_ONLY)
    return packer.compress(b"".join(parts)) + packer.flush()


def _bytes(values: Float[np.ndarray, "..."]) -> bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()


def _smallest_three(quats: Float32[np.ndarray, "N 4"]) -> UInt8[np.ndarray, "N 4"]:
    """Pack orientations: the number of the largest of x, y, z, w in two bits, and sign and nine bits of each
    of the others, in order."""
    xyzw = quats[:, [1, 2, 3, 0]].astype(np.float64)
    largest = np.abs(xyzw).argmax(1)
    xyzw *= np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        size = np.minimum(np.rint(511 * np.abs(xyzw[:, axis]) * math.sqrt(2)), 511).astype(np.uint32)
        word = (packed << np.uint32(10)) | ((xyzw[:, axis] < 0).astype(np.uint32) << np.uint32(9)) | size
        packed = np.where(largest == axis, packed, word)
    return packed.astype("<u4").view(np.uint8).reshape(-1, 4)
