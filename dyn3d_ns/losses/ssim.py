"""Structural similarity of two images with a fast gradient on the CPU.

SSIM of Wang et al. 2004 as 3DGS trains with it: an 11 x 11 Gaussian window of sigma 1.5, zeros around the
image. The window is separable; a row of vectors is 16 neighbouring floats of one image row (channels side by
side), so the horizontal pass reads shifted by whole pixels and needs no shuffles.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.kernels import pool
from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.vector import LANES, fma, splat
from dyn3d_ns.kernels.vector_memory import load, store

WINDOW, SIGMA = 11, 1.5
_HALF = WINDOW // 2
_C1, _C2 = 0.01**2, 0.03**2


def _weights() -> np.ndarray:
    offsets = np.arange(WINDOW) - _HALF
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    return (weights / weights.sum()).astype(np.float32)


_WEIGHTS = tuple(float(w) for w in _weights())


@inline
def _column(source, index, stride):
    """Return the vertical window sum of 16 columns; `index` is the first of 11 rows."""
    total = splat(0.0)
    for k in range(WINDOW):
        total = fma(load(source, index + k * stride), _WEIGHTS[k], total)
    return total


@inline
def _row(source, index, channels):
    """Return the horizontal window sum around 16 floats; `index` is five pixels to their left."""
    total = splat(0.0)
    for k in range(WINDOW):
        total = fma(load(source, index + k * channels), _WEIGHTS[k], total)
    return total


@kernel
def ssim_forward(piece, pieces, height, floats, channels, stride, first, last, x, y, sums, grads, lines):
    """Sum SSIM over one run of rows (to sums[piece]) and store its derivatives by mean, square and product of
    x.

    Images are padded: `stride` floats a row, five rows above and below; pixel 0 is float 5 * channels + 16.
    `first`, `last` bound the rows and columns (in pixels) that count. `lines` is scratch of five rows.
    """
    plane = (height + 2 * _HALF) * stride
    edge = _HALF * channels + LANES
    total = 0.0
    for row in range(height * piece // pieces, height * (piece + 1) // pieces):
        top = row * stride
        for i in range(0, stride - LANES + 1, LANES):
            mx, my, mxx, myy, mxy = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for k in range(WINDOW):
                a, b = load(x, top + k * stride + i), load(y, top + k * stride + i)
                wa, wb = a * _WEIGHTS[k], b * _WEIGHTS[k]
                mx, my = mx + wa, my + wb
                mxx, myy, mxy = fma(wa, a, mxx), fma(wb, b, myy), fma(wa, b, mxy)
            store(lines, i, mx)
            store(lines, stride + i, my)
            store(lines, 2 * stride + i, mxx)
            store(lines, 3 * stride + i, myy)
            store(lines, 4 * stride + i, mxy)
        for i in range(0, floats, LANES):
            o = edge + i - _HALF * channels
            mx, my = _row(lines, o, channels), _row(lines, stride + o, channels)
            vx = _row(lines, 2 * stride + o, channels) - mx * mx
            vy = _row(lines, 3 * stride + o, channels) - my * my
            cov = _row(lines, 4 * stride + o, channels) - mx * my
            a1, a2 = 2.0 * mx * my + _C1, 2.0 * cov + _C2
            b1, b2 = 1.0 / (mx * mx + my * my + _C1), 1.0 / (vx + vy + _C2)
            value = a1 * a2 * b1 * b2
            # derivatives by the window's E[x], E[x²], E[xy], with vx = E[x²] - E[x]² and so on
            by_square, by_product = -value * b2, 2.0 * a1 * b1 * b2
            by_mean = 2.0 * my * a2 * b1 * b2 - 2.0 * mx * value * b1 - by_product * my - 2.0 * mx * by_square
            place = (row + _HALF) * stride + edge + i
            store(grads, place, by_mean)
            store(grads, plane + place, by_square)
            store(grads, 2 * plane + place, by_product)
            store(lines, i, value)
        counts = first <= row < height - first
        for i in range(floats):
            pixel = i // channels
            if counts and first <= pixel < last:
                total += lines[i]
        _clear(grads, (row + _HALF) * stride, plane, stride, edge, floats, channels, counts, first, last)
    sums[piece] = total


@inline
def _clear(grads, start, plane, stride, edge, floats, channels, counts, first, last):
    """Zero the derivatives of what lies outside the pixels that count."""
    low = edge + first * channels if counts else stride
    high = edge + last * channels if counts else stride
    for part in range(3):
        for i in range(min(low, stride)):
            grads[part * plane + start + i] = 0.0
        for i in range(high, stride):
            grads[part * plane + start + i] = 0.0


@kernel
def ssim_backward(piece, pieces, height, floats, channels, stride, scale, x, y, grads, lines, out):
    """Write scale * dSSIM/dx of one run of rows: the window spreads the three derivatives over its pixels."""
    plane = (height + 2 * _HALF) * stride
    edge = _HALF * channels + LANES
    for row in range(height * piece // pieces, height * (piece + 1) // pieces):
        top = row * stride
        for i in range(0, stride - LANES + 1, LANES):
            for part in range(3):
                store(lines, part * stride + i, _column(grads, part * plane + top + i, stride))
        for i in range(0, floats, LANES):
            o = edge + i - _HALF * channels
            place = top + _HALF * stride + edge + i
            value = _row(lines, o, channels) + 2.0 * load(x, place) * _row(lines, stride + o, channels)
            by_product = _row(lines, 2 * stride + o, channels)
            store(lines, 3 * stride + i, scale * fma(load(y, place), by_product, value))
        for i in range(floats):
            out[row * floats + i] = lines[3 * stride + i]


def _padded(image: Tensor, stride: int) -> np.ndarray:
    """Copy an image into zeros with the margins that the kernels read."""
    height, width, channels = image.shape
    out = np.zeros((height + 2 * _HALF, stride), dtype=np.float32)
    edge = _HALF * channels + LANES
    out[_HALF : _HALF + height, edge : edge + width * channels] = image.detach().reshape(height, -1).numpy()
    return out.reshape(-1)


class _SSIM(torch.autograd.Function):
    """Mean SSIM on the CPU; the gradient is by the first image."""

    @staticmethod
    def forward(ctx, pred, target, valid: bool):
        height, width, channels = pred.shape
        floats, inner = width * channels, _HALF if valid else 0
        stride = -(-(floats + 2 * (_HALF * channels + LANES) + LANES) // LANES) * LANES
        x, y = _padded(pred, stride), _padded(target, stride)
        grads = np.zeros(3 * len(x), dtype=np.float32)
        pieces = min(pool.get_num_threads(), max(1, height // 32))
        sums = np.zeros(pieces, dtype=np.float64)

        def work(piece: int) -> None:
            ssim_forward(
                piece, pieces, height, floats, channels, stride, inner, width - inner, x, y, sums, grads,
                np.zeros(5 * stride, dtype=np.float32),
            )  # fmt: skip

        pool.run(work, pieces)
        ctx.count = (height - 2 * inner) * (width - 2 * inner) * channels
        ctx.arrays, ctx.shape, ctx.stride, ctx.pieces = (x, y, grads), pred.shape, stride, pieces
        return pred.new_tensor(sums.sum() / ctx.count)

    @staticmethod
    def backward(ctx, v_value):
        height, width, channels = ctx.shape
        out = torch.empty(ctx.shape)
        flat, scale = out.view(-1).numpy(), float(v_value) / ctx.count

        def work(piece: int) -> None:
            ssim_backward(
                piece, ctx.pieces, height, width * channels, channels, ctx.stride, np.float32(scale),
                *ctx.arrays, np.zeros(4 * ctx.stride, dtype=np.float32), flat,
            )  # fmt: skip

        pool.run(work, ctx.pieces)
        return out, None, None


def ssim_torch(pred: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], valid: bool = False) -> Tensor:
    """Compute the mean SSIM with torch's convolutions, on any device and in any precision."""
    channels = pred.shape[-1]
    line = torch.arange(WINDOW, device=pred.device, dtype=pred.dtype) - _HALF
    line = torch.exp(-(line**2) / (2 * SIGMA**2))
    line = line / line.sum()
    x, y = pred.permute(2, 0, 1), target.permute(2, 0, 1)
    stack = torch.cat([x, y, x * x, y * y, x * y])[:, None]
    pad = 0 if valid else _HALF
    stack = torch.nn.functional.conv2d(stack, line.view(1, 1, -1, 1), padding=(pad, 0))
    stack = torch.nn.functional.conv2d(stack, line.view(1, 1, 1, -1), padding=(0, pad))[:, 0]
    mx, my, mxx, myy, mxy = stack.split(channels)
    top = (2 * mx * my + _C1) * (2 * (mxy - mx * my) + _C2)
    return (top / ((mx * mx + my * my + _C1) * (mxx - mx * mx + myy - my * my + _C2))).mean()


def ssim(
    pred: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], padding: Literal["same", "valid"] = "same"
) -> Float[Tensor, ""]:
    """Return the mean structural similarity of two images in 0…1, differentiable by `pred`.

    `padding` "same" sees zeros around the image, as 3DGS's loss does; "valid" counts whole windows only.

    Raises:
        ValueError: if the shapes differ, or "valid" is asked of an image smaller than the window of 11
        pixels.
    """
    if pred.dim() != 3 or pred.shape != target.shape:
        raise ValueError(
            f"pred is {tuple(pred.shape)}, target {tuple(target.shape)}; expected [H, W, C] alike"
        )
    if padding not in ("same", "valid"):
        raise ValueError(f'padding is {padding!r}; it must be "same" or "valid"')
    valid = padding == "valid"
    if valid and min(pred.shape[:2]) < WINDOW:
        raise ValueError(f'{tuple(pred.shape[:2])} pixels hold no whole window of 11; use padding="same"')
    kernels = pred.device.type == "cpu" and pred.dtype == target.dtype == torch.float32
    if not kernels or (target.requires_grad and torch.is_grad_enabled()):
        return ssim_torch(pred, target, valid)
    return _SSIM.apply(pred, target, valid)
