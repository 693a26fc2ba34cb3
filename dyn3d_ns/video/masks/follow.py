"""Follow boxes of the user through a clip: GrabCut in the picture, the flow from picture to picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.masks.carry import carry_labels
from dyn3d_ns.video.masks.clean import fill_small_holes, grabcut, keep_large
from dyn3d_ns.video.masks.prompts import Prompt

_ROUNDS = 5


def mask_in_box(
    image: UInt8[np.ndarray, "H W 3"], box: tuple[float, float, float, float]
) -> Bool[np.ndarray, "H W"]:
    """Cut out what differs from the surroundings inside a box; the whole box where nothing does."""
    import cv2

    left, top, right, bottom = (round(v) for v in box)
    inside = np.zeros(image.shape[:2], bool)
    inside[top:bottom, left:right] = True
    if inside.all():
        return inside
    labels = np.zeros(image.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    rectangle = (left, top, right - left, bottom - top)
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, labels, rectangle, *models, _ROUNDS, cv2.GC_INIT_WITH_RECT)
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)) & inside
    return found if found.sum() >= 0.05 * inside.sum() else inside


def follow_prompt(
    image: Callable[[int], UInt8[np.ndarray, "H W 3"]],
    flow: Callable[[int, int], Flow | None],
    prompt: Prompt,
    num_frames: int,
) -> dict[int, Bool[np.ndarray, "H W"]]:
    """Return the masks of one object in all frames in which it can be followed from its prompt.

    Args:
        flow: From a frame to its neighbour (-1 before, +1 after).
    """
    assert prompt.box is not None
    start = mask_in_box(image(prompt.frame), prompt.box)
    masks = {prompt.frame: start}
    for step in (1, -1):
        mask, i = start, prompt.frame + step
        while 0 <= i < num_frames and mask.any():
            back = flow(i, -step)
            if back is None:
                break
            # Where the flow is not sure it still tells best where a pixel was.
            sure = Flow(back.flow, np.ones_like(back.valid))
            carried = carry_labels(mask.astype(np.int32), sure) > 0
            pixels = max(8, round(0.05 * carried.sum()))
            mask = keep_large(grabcut(image(i), carried, carried.astype(np.float32)), pixels)
            mask = fill_small_holes(mask, pixels)
            masks[i] = mask
            i += step
    return masks


def stack_labels(
    masks: Sequence[dict[int, Bool[np.ndarray, "H W"]]], frame: int, shape: tuple[int, int]
) -> Int32[np.ndarray, "H W"]:
    """Return the ids of one frame; object k has id k + 1, later objects lie on top."""
    labels = np.zeros(shape, np.int32)
    for k, frames in enumerate(masks, 1):
        if frame in frames:
            labels[frames[frame]] = k
    return labels
