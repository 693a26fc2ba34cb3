"""Camera paths of two keyframes in the stock viewer's Render tab."""

from __future__ import annotations

from functools import cache, wraps
from typing import Any


@cache
def allow_two_keyframes() -> None:
    """Let a rotation spline go through two rotations; calling it again changes nothing.

    splines 0.3.0, which Nerfstudio pins, asks an empty array for its truth there, an error since NumPy 2.2.
    """
    from splines.quaternion import DeCasteljau, KochanekBartels, canonicalized

    stock = KochanekBartels.__init__

    @wraps(stock)
    def __init__(self: Any, quaternions: Any, grid: Any = None, **options: Any) -> None:
        rotations = list(quaternions)
        if len(rotations) != 2 or grid is not None or options.get("endconditions", "natural") != "natural":
            stock(self, rotations, grid, **options)
            return
        first, last = canonicalized(rotations)
        third = (last * first.inverse()) ** (1 / 3)
        # A cubic whose control points lie at equal steps turns at one speed.
        DeCasteljau.__init__(self, [(first, third * first, third.inverse() * last, last)], [0, 1])

    KochanekBartels.__init__ = __init__
