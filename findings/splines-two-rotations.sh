#!/usr/bin/env bash
# splines 0.3.0 (the version that nerfstudio 1.1.5 pins): a Kochanek-Bartels spline through two rotations raises
# with NumPy 2.2 and later, though one through three is made, and one through two was with NumPy 2.1.
#
# The Render tab of Nerfstudio's viewer makes such a spline of its keyframes: a path of the first two keyframes
# that a user adds ends in a traceback, and the preview stays dead.
# Expected by many: two keyframes are the plainest path of all; Catmull-Rom through two points is a line.
# Seen: no rotation lies between the two, so the array of tensions is empty; an assertion asks it for its truth, and
# what NumPy had only warned of is an error since 2.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for numpy in 2.1.3 2.2.6; do
    python3 -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet splines==0.3.0 "numpy==$numpy"
    "$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy
import splines
from splines.quaternion import KochanekBartels, UnitQuaternion


def turned(degrees):
    half = numpy.deg2rad(degrees) / 2
    return UnitQuaternion.from_unit_xyzw((0.0, 0.0, float(numpy.sin(half)), float(numpy.cos(half))))


def outcome(count):
    try:
        curve = KochanekBartels([turned(40 * k) for k in range(count)], endconditions="natural")
        return f"made, in the middle of the first part {numpy.degrees(curve.evaluate(0.5).angle):.1f} degrees"
    except ValueError as error:
        return f"ValueError: {error}"


new = tuple(map(int, numpy.__version__.split(".")[:2])) >= (2, 2)
two, three = outcome(2), outcome(3)
print(f"splines {splines.__version__}, NumPy {numpy.__version__}\n  two rotations: {two}\n  three: {three}")
if not three.startswith("made"):
    sys.exit("changed: three rotations are no longer interpolated")
if two.startswith("made") == new:
    sys.exit("changed: two rotations " + ("are interpolated now" if new else "fail with this NumPy too"))
PY
done
