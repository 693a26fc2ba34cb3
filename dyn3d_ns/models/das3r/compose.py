"""Put a recorded frame and the static scene behind it together: keep what rests, replace what moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

_AREA = 20_000
"""Pixels of holes that are filled at full size; larger ones at a smaller one, so that it stays fast."""
_GREY_LEVEL = 1 / 255
_UNSURE = (0.25, 0.75)
"""Staticness that counts as none, and as all: a map is never quite sure, but a mixture is blurred."""


@dataclass
class ComposeSettings:
    """What counts as the same in the recording and in the static scene, relative to the image's size."""

    lowpass: float = 0.02
    """Radius of the average in which both are compared, part of the longer side."""
    feather: float = 0.008
    """Width of the transition between both, part of the longer side."""
    agrees: float = 3.0
    """Difference, in robust standard deviations of static pixels, up to which a pixel is kept."""
    differs: float = 6.0
    """Difference from which on it is replaced."""
    least: float = 4.0
    """Difference that always agrees, grey levels; twice as much may differ."""


@dataclass
class Composed:
    """A frame without what moves."""

    image: Float32[np.ndarray, "H W 3"]
    """Colours in 0..1."""
    filled: Bool[np.ndarray, "H W"]
    """Where neither the frame nor any other shows what is there."""
    kept: Float32[np.ndarray, "H W"]
    """Part of the recorded frame in each pixel."""


def box(image: Float32[np.ndarray, "H W *C"], radius: int) -> Float32[np.ndarray, "H W *C"]:
    """Average over a square of 2 radius + 1 pixels, the border continued."""
    if radius < 1:
        return image
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.blur(image, size, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def lowpass_difference(
    recorded: Float32[np.ndarray, "H W 3"],
    render: Float32[np.ndarray, "H W 3"],
    static: Float32[np.ndarray, "H W"],
    radius: int,
) -> Float32[np.ndarray, "H W"]:
    """Return how far the averages around each pixel are apart, in the channel in which they differ most.

    Only static pixels are averaged, so that a mover does not reach out of its mask. An edge that lies a pixel
    off averages out, a shadow does not.
    """
    # Twice a box is nearly a Gaussian, and has no blocks.
    weight = box(box(static, radius), radius)
    difference = box(box((recorded - render) * static[..., None], radius), radius)
    return np.abs(difference).max(-1) / np.maximum(weight, 1e-3)


def agreement(
    difference: Float32[np.ndarray, "H W"], static: Float32[np.ndarray, "H W"], settings: ComposeSettings
) -> Float32[np.ndarray, "H W"]:
    """Return a smooth step, from 1 where a pixel differs as static ones do to 0 where it differs far more."""
    chosen = difference[static > 0.5]
    scale = 1.4826 * float(np.median(chosen)) if chosen.size else 0.0
    low = max(settings.agrees * scale, settings.least * _GREY_LEVEL)
    high = max(settings.differs * scale, 2 * settings.least * _GREY_LEVEL)
    return 1 - smoothstep(difference, low, high)


def smoothstep(values: Float32[np.ndarray, "*n"], low: float, high: float) -> Float32[np.ndarray, "*n"]:
    """Return a step without kinks from 0 below ``low`` to 1 above ``high``."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def feathered(weight: Float32[np.ndarray, "H W"], radius: int) -> Float32[np.ndarray, "H W"]:
    """Soften a weight towards its inside: what is 0 stays 0, so that no rim of a mover shows."""
    if radius < 1:
        return weight
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return box(np.asarray(cv2.erode(weight, square), dtype=np.float32), radius)


def fill(image: Float32[np.ndarray, "H W 3"], holes: Bool[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W 3"]:
    """Continue the surroundings of holes into them (Telea); where the holes are large, at a smaller size.

    An image that is one hole becomes its mean colour.
    """
    if not holes.any():
        return image
    if holes.all():
        return np.broadcast_to(image.mean((0, 1)), image.shape).astype(np.float32)
    height, width = holes.shape
    shrink = min(1.0, (_AREA / float(holes.sum())) ** 0.5)
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    known = (~holes).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    # Averages of what is known alone: nothing of a hole's content leaks into its surroundings.
    small = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    small = small / np.maximum(share, 1e-6)[..., None]
    unknown = (share < 1e-3).astype(np.uint8)
    colors = np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)
    if unknown.all():
        return np.broadcast_to(image[~holes].mean(0), image.shape).astype(np.float32)
    found = cv2.inpaint(colors, unknown, 3, cv2.INPAINT_TELEA).astype(np.float32) / 255
    found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(holes[..., None], found, image).astype(np.float32)


def compose(
    recorded: Float32[np.ndarray, "H W 3"],
    render: Float32[np.ndarray, "H W 3"],
    static: Float32[np.ndarray, "H W"],
    known: Bool[np.ndarray, "H W"],
    settings: ComposeSettings,
    everything: bool = False,
) -> Composed:
    """Keep the recording where it shows the static scene, show the rendering elsewhere, fill what is unknown.

    Args:
        recorded: The frame, 0..1.
        render: The static scene through the frame's camera, 0..1.
        static: How sure it is that a pixel does not move, 0..1.
        known: Where some frame saw at rest what the rendering shows.
        settings: What agrees.
        everything: Show the rendering everywhere.
    """
    longer = max(recorded.shape[:2])
    if everything:
        kept = np.zeros(static.shape, np.float32)
    else:
        difference = lowpass_difference(recorded, render, static, max(round(settings.lowpass * longer), 1))
        kept = smoothstep(static, *_UNSURE) * agreement(difference, static, settings)
        kept = feathered(kept, max(round(settings.feather * longer), 1))
    part = kept[..., None]
    image = part * recorded + (1 - part) * render
    # A few pixels without a witness are those that rounding has missed.
    unknown = cv2.morphologyEx((~known).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    holes = (unknown > 0) & (kept < 1)
    if holes.any():
        image = part * recorded + (1 - part) * fill(image, holes)
    return Composed(np.clip(image, 0, 1).astype(np.float32), holes & (kept < 0.5), kept)


def lay_over(
    below: Composed, recorded: Float32[np.ndarray, "H W 3"], objects: Bool[np.ndarray, "H W"]
) -> Composed:
    """Lay objects of the recording over a composed frame, their edges a pixel soft."""
    part = cv2.GaussianBlur(objects.astype(np.float32), (3, 3), 0)
    image = part[..., None] * recorded + (1 - part[..., None]) * below.image
    return Composed(image.astype(np.float32), below.filled & (part < 0.5), np.maximum(below.kept, part))
