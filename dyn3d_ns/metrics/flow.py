"""End-point error of optical flow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float


@dataclass
class FlowErrors:
    """Sums the end-point errors of a clip, by groups of pixels."""

    _sums: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self,
        estimated: Float[np.ndarray, "H W 2"],
        true: Float[np.ndarray, "H W 2"],
        groups: dict[str, Bool[np.ndarray, "H W"]],
    ) -> None:
        """Take in a frame; `groups` names sets of pixels.

        Raises:
            ValueError: the sizes differ.
        """
        if estimated.shape != true.shape:
            raise ValueError(f"flow of size {estimated.shape[:2]} against true flow of {true.shape[:2]}")
        error = np.linalg.norm(estimated.astype(np.float64) - true, axis=-1)
        known = np.isfinite(true).all(-1)
        for name, pixels in groups.items():
            chosen = error[pixels & known]
            total = self._sums.setdefault(name, [0.0, 0.0, 0.0])
            total[0] += float(chosen.sum())
            total[1] += float((chosen > 3.0).sum())
            total[2] += len(chosen)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return per group the mean error in pixels, the percentage above 3 pixels and the count."""
        return {
            name: {"epe": total / count, "percent_above_3px": 100.0 * bad / count, "pixels": count}
            for name, (total, bad, count) in self._sums.items()
            if count
        }
