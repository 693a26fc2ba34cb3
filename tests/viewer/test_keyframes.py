"""Camera paths of two keyframes."""

import numpy as np
import pytest
from splines.quaternion import KochanekBartels, UnitQuaternion

from dyn3d_ns.viewer.keyframes import allow_two_keyframes


@pytest.mark.parametrize("sign", [1, -1])
def test_two_rotations_are_gone_through_at_one_speed_the_short_way(sign: int) -> None:
    allow_two_keyframes()
    turns = [
        UnitQuaternion.from_unit_xyzw([0, 0, s * np.sin(angle / 2), s * np.cos(angle / 2)])
        for angle, s in ((0.2, 1), (1.4, sign))
    ]
    spline = KochanekBartels(turns, tcb=(0.3, 0.0, 0.0), endconditions="natural")
    found = [spline.evaluate(t) for t in (0, 0.25, 0.5, 1)]
    angles = [2 * np.arctan2(q.vector[2], q.scalar) for q in found]
    assert angles == pytest.approx([0.2, 0.5, 0.8, 1.4])
    three = KochanekBartels([*turns, turns[0]], tcb=(0.0, 0.0, 0.0), endconditions="natural")
    assert list(three.grid) == [0, 1, 2], "longer paths are as ever"
