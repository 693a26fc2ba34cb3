"""Pictures of motion: the flow in colours, and the plot of the keyframe selection."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8


def flow_colors(
    flow: Float32[np.ndarray, "H W 2"], longest: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show a flow: direction as hue, length as saturation; `longest` pixels are full colour."""
    import cv2

    length = np.linalg.norm(flow, axis=-1)
    longest = float(np.percentile(length, 99)) if longest is None else longest
    hue = (np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360) / 2
    saturation = np.clip(length / max(longest, 1e-6), 0, 1) * 255
    hsv = np.stack((hue, saturation, np.full_like(hue, 255)), axis=-1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def motion_plot(scores: Sequence[float], selected: Sequence[int], metric: str) -> bytes:
    """Plot the score of every step and the selected frames; return a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), dpi=120)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(scores, color="tab:blue", linewidth=1)
    axes.scatter(selected, [scores[i] for i in selected], color="tab:red", s=14, zorder=3, label="keyframes")
    axes.set_xlabel("frame")
    axes.set_ylabel(f"motion to the next frame, {metric} (px)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    figure.tight_layout()
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()
