"""How places of rays move: the velocity field, integrated over frames (section 3.3)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.neural_ode import integrate_ode
from dyn3d_ns.models.mononerf.fields import DynamicField

Integration = Literal["euler", "ode"]


class Motion(NamedTuple):
    """The velocity field, seen from the times of some rays, whose samples are the places."""

    field: DynamicField
    codes: Float[Tensor, "R D"]
    """Codes of the rays' videos, each of which has as many places as the others."""
    times: Float[Tensor, "P 1"]
    """Normalised times of the places."""
    spacing: Float[Tensor, "P 1"]
    """Normalised time between two frames of their videos."""
    integration: Integration
    steps: int
    """Steps of Euler's rule for a frame."""

    def stem(self, places: Float[Tensor, "P 3"], passed: Float[Tensor, "P 1"] | float = 0.0) -> Tensor:
        """Return what the field knows of places after so many frames."""
        return self.field.stem(places, 2 * (self.times + passed * self.spacing) - 1, self.codes)

    def of(self, chosen: Int64[Tensor, "Q"], times: Float[Tensor, "Q"]) -> Motion:
        """Return the motion of some of the places from other normalised times on."""
        codes = self.codes[chosen // (len(self.times) // len(self.codes))]
        return self._replace(codes=codes, times=times[:, None], spacing=self.spacing[chosen])

    def velocity(
        self, places: Float[Tensor, "P 3"], passed: Float[Tensor, "P 1"] | float = 0.0
    ) -> Float[Tensor, "P 3"]:
        """Return how far places move within a frame, after so many frames."""
        return self.field.velocity(self.stem(places, passed))

    def carry(
        self,
        places: Float[Tensor, "P 3"],
        velocity: Float[Tensor, "P 3"],
        frames: float,
    ) -> Float[Tensor, "P 3"]:
        """Carry places over so many frames, back where that is negative.

        Args:
            places: Where they are at their times.
            velocity: The field there, which is known by then.
            frames: How many frames.
        """
        if self.integration == "ode":
            return integrate_ode(self.velocity, places, 0.0, frames)
        step = frames / max(round(self.steps * abs(frames)), 1)
        return integrate(self.velocity, places + step * velocity, step, frames, abs(step), "euler")
