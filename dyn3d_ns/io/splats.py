"""Gaussians as files of any format hold them: at one instant, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32

Up = Literal["y", "z", "data"]
"""Axis of a file that points up, or the data's own axes."""


BEYOND = 0.25
"""Part of the recording that a scene which knows its future goes on past the end, where that is asked for."""


@dataclass(frozen=True)
class Splats:
    """Gaussians at one instant, in the units and along the axes of the file."""

    means: Float[np.ndarray, "N 3"]
    """Centres; float64 where they lie too far from the origin for float32."""
    quats: Float32[np.ndarray, "N 4"]
    """Orientations wxyz, of length one."""
    scales: Float32[np.ndarray, "N 3"]
    """Standard deviations along the axes."""
    opacities: Float32[np.ndarray, "N"]
    """In 0..1."""
    sh: Float32[np.ndarray, "N K 3"]
    """Spherical-harmonics coefficients in the order and with the signs of 3DGS, K = (degree + 1) squared."""
    velocities: Float32[np.ndarray, "N 3"] | None = None
    """Units per second; None where that is not known."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics."""
        return round(self.sh.shape[1] ** 0.5) - 1


@dataclass(frozen=True)
class View:
    """A recorded camera, in the units and along the axes of the file."""

    pose: Float[np.ndarray, "4 4"]
    """OpenGL camera-to-world: x right, y up, looking along -z."""
    fov: float
    """Vertical field of view, degrees."""
    size: tuple[int, int]
    """Width and height of its images, pixels."""


@dataclass(frozen=True)
class About:
    """Where a scene comes from and how it is to be read; formats state of it what they can."""

    method: str = ""
    """Of its training; empty for a file of unknown origin."""
    version: str = ""
    """Of this package, or of the writer of the file."""
    up: Up = "data"
    metres_per_unit: float | None = None
    """None where the data does not say."""
    fps: float = 30.0
    """Frames of the recording in a second."""
    observed: tuple[float, float] = (0.0, 0.0)
    """Seconds of the first and the last observed frame; later ones are predicted."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the file's origin lies in the data's world, along the file's axes."""
    views: tuple[View, ...] = field(default=(), repr=False)
    """Recorded cameras."""


class SplatSequence(Protocol):
    """The same Gaussians, in the same order, at some times."""

    @property
    def seconds(self) -> tuple[float, ...]:
        """Times, rising; second 0 is the recording's first frame."""
        ...

    @property
    def about(self) -> About:
        """Where the scene comes from."""
        ...

    def at(self, index: int) -> Splats:
        """Return the Gaussians at one of the times."""
        ...

    @property
    def moving(self) -> Bool[np.ndarray, "N"]:
        """Which Gaussians move or turn at any of the times."""
        ...


class StoredSequence:
    """A sequence that is held in memory."""

    def __init__(self, instants: Sequence[Splats], seconds: Sequence[float], about: About) -> None:
        """Hold Gaussians at times.

        Raises:
            ValueError: there is none, or they differ in number or degree.
        """
        shapes = {splats.sh.shape for splats in instants}
        if len(shapes) != 1 or len(instants) != len(seconds):
            raise ValueError(f"{len(instants)} instants at {len(seconds)} times with colours {shapes}")
        self.instants, self.seconds, self.about = tuple(instants), tuple(seconds), about

    def at(self, index: int) -> Splats:
        """Return the Gaussians at one of the times."""
        return self.instants[index]

    @cached_property
    def moving(self) -> Bool[np.ndarray, "N"]:
        """Which Gaussians move or turn at any of the times."""
        first = self.instants[0]
        moves = np.zeros(len(first), bool)
        for splats in self.instants[1:]:
            moves |= (splats.means != first.means).any(1) | (splats.quats != first.quats).any(1)
        return moves
