"""Names for what kernels take and give, as annotations for the reader: Numba goes by values alone.

Arrays are contiguous and mostly flat; a kernel's docstring says how they are laid out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

F32: TypeAlias = Float32[np.ndarray, "..."]
"""Array of float32."""
F64: TypeAlias = Float64[np.ndarray, "..."]
"""Array of float64, for sums over many Gaussians."""
I32: TypeAlias = Int32[np.ndarray, "..."]
"""Array of int32: ids, ranks, packed bytes."""
I64: TypeAlias = Int64[np.ndarray, "..."]
"""Array of int64: counts, and words whose bits are ranks."""
U8: TypeAlias = UInt8[np.ndarray, "..."]
"""Array of bytes."""
Lanes: TypeAlias = Any
"""Sixteen float32 in a register, Numba's ``f32x16``; see :mod:`dyn3d_ns.kernels.vector`."""
Mask: TypeAlias = Any
"""Sixteen booleans in a register, Numba's ``i1x16``."""
Word: TypeAlias = Any
"""Whole number of 64 bits: an int, or NumPy's where a kernel runs as Python."""
Channels: TypeAlias = Any
"""As many :data:`Lanes` as there are channels; see :mod:`dyn3d_ns.kernels.vector_channels`."""

Context: TypeAlias = Any
"""Numba's typing or target context."""
Kind: TypeAlias = Any
"""Numba type of an argument or a result."""
Builder: TypeAlias = Any
"""llvmlite's ``IRBuilder``."""
Value: TypeAlias = Any
"""llvmlite's value of an instruction, or a constant."""
Signature: TypeAlias = Any
"""Numba's signature of a call."""
Lowered: TypeAlias = tuple[Signature, Any]
"""What an intrinsic returns to Numba: its signature, and the function that emits its instructions."""
