"""Errors of depth maps after alignment of the whole clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
from jaxtyping import Bool, Float

Alignment = Literal["scale", "disparity"]
"""Median scale, or least squares of scale and shift in disparity (Uni4D's protocol)."""
_SAMPLES = 20_000
"""Pixels of each frame that the alignment is fitted to, at most."""


class DepthScore(TypedDict):
    """Errors of depth after alignment."""

    abs_rel: float
    """Mean |d - d*| / d*."""
    delta_125: float
    """Part of the pixels with max(d / d*, d* / d) below 1.25."""
    scale: float
    shift: float
    """Shift of disparity; 0 for the median scale."""
    pixels: int


@dataclass
class DepthErrors:
    """Collects the depth maps of a clip frame by frame: first to align them all by one map, then to compare.

    Feed each frame to :meth:`collect`, call :meth:`align`, feed each to :meth:`add`, read :meth:`summary`.
    """

    alignment: Alignment = "scale"
    max_depth: float = 70.0
    """True depth from which pixels do not count; estimates are cut there."""
    _pairs: list[Float[np.ndarray, "2 M"]] = field(default_factory=list)
    _scale: float = 1.0
    _shift: float = 0.0
    _sums: dict[str, list[float]] = field(default_factory=dict)

    def collect(
        self,
        estimated: Float[np.ndarray, "H W"],
        true: Float[np.ndarray, "H W"],
        pixels: Bool[np.ndarray, "H W"] | None = None,
    ) -> None:
        """Take in a frame for the alignment; `pixels` limits where it is fitted."""
        keep = self._known(estimated, true)
        if pixels is not None:
            keep &= pixels
        pair = np.stack((estimated[keep], true[keep])).astype(np.float64)
        self._pairs.append(pair[:, :: max(1, pair.shape[1] // _SAMPLES)])

    def align(self) -> None:
        """Fit the map from estimated to true depth.

        Raises:
            ValueError: no pixel has both an estimate and a true depth.
        """
        pairs = np.concatenate(self._pairs, axis=1) if self._pairs else np.empty((2, 0))
        if pairs.shape[1] == 0:
            raise ValueError("no pixel has both an estimated and a true depth")
        estimated, true = pairs
        if self.alignment == "scale":
            self._scale, self._shift = float(np.median(true / estimated)), 0.0
        else:
            design = np.stack((1.0 / estimated, np.ones_like(estimated)), axis=1)
            self._scale, self._shift = (float(v) for v in np.linalg.lstsq(design, 1.0 / true, rcond=None)[0])

    def add(
        self,
        estimated: Float[np.ndarray, "H W"],
        true: Float[np.ndarray, "H W"],
        groups: dict[str, Bool[np.ndarray, "H W"]],
    ) -> None:
        """Take in a frame for the errors; `groups` names sets of pixels."""
        known = self._known(estimated, true)
        aligned = self._apply(np.where(known, estimated, 1.0).astype(np.float64))
        wanted = np.where(known, true, 1.0)
        relative = np.abs(aligned - wanted) / wanted
        close = np.maximum(aligned / wanted, wanted / aligned) < 1.25
        for name, pixels in groups.items():
            chosen = known & pixels
            total = self._sums.setdefault(name, [0.0, 0.0, 0.0])
            total[0] += float(relative[chosen].sum())
            total[1] += float(close[chosen].sum())
            total[2] += float(chosen.sum())

    def summary(self) -> dict[str, DepthScore]:
        """Return the errors of each group that has pixels."""
        return {
            name: DepthScore(
                abs_rel=error / count,
                delta_125=close / count,
                scale=self._scale,
                shift=self._shift,
                pixels=int(count),
            )
            for name, (error, close, count) in self._sums.items()
            if count
        }

    def _known(
        self, estimated: Float[np.ndarray, "H W"], true: Float[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        if estimated.shape != true.shape:
            raise ValueError(f"depth of size {estimated.shape} against true depth of {true.shape}")
        finite = np.isfinite(estimated) & np.isfinite(true)
        return finite & (estimated > 0) & (true > 0) & (true < self.max_depth)

    def _apply(self, estimated: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
        if self.alignment == "scale":
            depth = self._scale * estimated
        else:
            depth = 1.0 / np.maximum(self._scale / estimated + self._shift, 1.0 / self.max_depth)
        return np.clip(depth, 1e-3, self.max_depth)
