"""The mean absolute error of a rendering against a recorded image, in one pass over the pixels.

The recorded image stays in 8 bits, as it is cached; background, downscaling and error are put together for
each pixel. CUDA tensors and images of floats take the same steps with torch's operators.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dyn3d_ns.kernels.jit import inline, kernel
from dyn3d_ns.kernels.once import once
from dyn3d_ns.kernels.pool import pieces_of, run
from dyn3d_ns.kernels.vector import LANES, first_lanes, lane_sum, select, splat, vabs
from dyn3d_ns.kernels.vector_memory import gather, load, scatter
from dyn3d_ns.losses.ssim import ssim


@inline
def _truth_row(y, factor, width, image, background, weight, row):
    """Lay one row of the image over the background: a run of `size` floats a channel, then what counts."""
    opaque, size = image.shape[2] == 3, len(row) // 4
    unit, unit_alpha = np.float32(1 / (255.0 * factor * factor)), np.float32(1 / 255.0)
    share, full = np.float32(1 / (factor * factor)), np.float32(255)
    b0, b1, b2 = background[0], background[1], background[2]
    if factor == 1 and weight.size == 0 and not opaque:  # the common case, as a loop that is made vectors of
        for x in range(width):
            cover = np.float32(image[y, x, 3]) * unit_alpha
            empty = full * (np.float32(1) - cover)
            row[x] = (np.float32(image[y, x, 0]) * cover + empty * b0) * unit
            row[size + x] = (np.float32(image[y, x, 1]) * cover + empty * b1) * unit
            row[2 * size + x] = (np.float32(image[y, x, 2]) * cover + empty * b2) * unit
            row[3 * size + x] = np.float32(1)
        return
    for x in range(width):
        red, green, blue, empty = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        counts = np.float32(0) if weight.size else np.float32(1)
        for sy in range(y * factor, (y + 1) * factor):
            for sx in range(x * factor, (x + 1) * factor):
                pixel = image[sy, sx]
                cover = np.float32(1) if opaque else np.float32(pixel[3]) * unit_alpha
                part = np.float32(1)
                if weight.size:
                    part = weight[sy, sx, 0]
                    counts += part * share
                red += np.float32(pixel[0]) * cover * part
                green += np.float32(pixel[1]) * cover * part
                blue += np.float32(pixel[2]) * cover * part
                empty += full * (1 - cover) * part
        # The mean of what counts; where nothing does, so does the error.
        mean = unit / counts if counts > 0 else np.float32(0)
        row[x], row[size + x] = (red + empty * b0) * mean, (green + empty * b1) * mean
        row[2 * size + x], row[3 * size + x] = (blue + empty * b2) * mean, counts


@kernel
def _error(start, stop, factor, width, render, alpha, image, background, weight, v_render, v_alpha, row):
    """Return the sum of the absolute errors of some rows, and write their slopes.

    Rendering and slopes are flat; `row` is scratch of four rows in whole vectors.
    """
    total, size, zero = 0.0, len(row) // 4, splat(0.0)
    for y in range(start, stop):
        _truth_row(y, factor, width, image, background, weight, row)
        errors = zero
        for x in range(0, width, LANES):
            lanes, o = first_lanes(width - x), y * width + x
            through, counts = 1.0 - gather(alpha, o, 1, lanes), load(row, 3 * size + x)
            by_alpha = zero
            for c in range(3):
                error = (
                    gather(render, 3 * o + c, 3, lanes) + through * background[c] - load(row, c * size + x)
                )
                slope = select(error > 0.0, counts, zero) - select(error < 0.0, counts, zero)
                scatter(v_render, 3 * o + c, 3, lanes, slope)
                by_alpha = by_alpha - slope * background[c]
                errors = errors + select(lanes, counts * vabs(error), zero)
            scatter(v_alpha, o, 1, lanes, by_alpha)
        total += lane_sum(errors)
    return total


class _MeanError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        render: Tensor,
        alpha: Tensor,
        image: Tensor,
        background: Tensor,
        weight: Tensor,
        factor: int,
    ) -> Tensor:
        height, width = render.shape[:2]
        arrays = [render.numpy().ravel(), alpha.numpy().ravel()]
        arrays += [x.numpy() for x in (image, background, weight)]
        ctx.slopes = np.empty(render.shape, np.float32), np.empty(alpha.shape, np.float32)
        arrays += [x.reshape(-1) for x in ctx.slopes]
        bounds = pieces_of(height, smallest=32)
        sums = [0.0] * (len(bounds) - 1)
        rows = np.empty((len(sums), 4 * LANES * -(-width // LANES)), np.float32)

        def work(piece: int) -> None:
            sums[piece] = _error(bounds[piece], bounds[piece + 1], factor, width, *arrays, rows[piece])

        run(work, len(sums))
        return torch.scalar_tensor(sum(sums) / render.numel())

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        v_render, v_alpha = ctx.slopes
        scale = np.float32(grads[0].item() / v_render.size)
        return torch.from_numpy(v_render * scale), torch.from_numpy(v_alpha * scale), None, None, None, None


def composite(
    image: Shaped[Tensor, "*pixels C"], background: Float[Tensor, "*#pixels 3"]
) -> Float[Tensor, "*pixels 3"]:
    """Return colours (uint8, or float in 0..1) as floats, straight alpha laid over a background.

    What has no fourth channel stays as it is. The kernel above does the same in the pass that compares, and
    so rounds in another order.
    """
    values = image.float() / 255.0 if image.dtype == torch.uint8 else image
    if values.shape[-1] < 4:
        return values
    alpha = values[..., 3:]
    return values[..., :3] * alpha + background.to(values) * (1.0 - alpha)


def recorded_image(
    image: Shaped[Tensor, "H W C"], background: Float[Tensor, "3"], factor: int = 1
) -> Float[Tensor, "H2 W2 3"]:
    """Lay an image (uint8, or float in 0..1; RGB, or RGBA with straight alpha) over a background.

    Blocks of ``factor`` x ``factor`` pixels are averaged after that; rows and columns that fill no block are
    left out.
    """
    values = composite(image, background)
    if factor == 1:
        return values
    return torch.nn.functional.avg_pool2d(values.permute(2, 0, 1)[None], factor)[0].permute(1, 2, 0)


def mean_absolute_error(
    render: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W 1"],
    image: Shaped[Tensor, "H2 W2 C"],
    background: Float[Tensor, "3"],
    factor: int = 1,
    weight: Float[Tensor, "H2 W2 1"] | None = None,
) -> Float[Tensor, ""]:
    """Compare a rendering with a recorded image, both on the same background.

    Args:
        render: Colours, premultiplied by the accumulation.
        alpha: Accumulation of the rendering.
        image: Recorded image, RGB or RGBA with straight alpha, uint8 or float in 0..1.
        background: Colour behind both; it gets no gradient.
        factor: Blocks of this many pixels a side of the image are averaged to one of the rendering.
        weight: How much each pixel of the image counts, 0..1; None for all alike. A block is compared with
            the mean of what counts in it; the mean of the errors is over all, whatever they count.

    Raises:
        ValueError: the image, downscaled, is not of the rendering's size, or the weight not of the image's.
    """
    if (image.shape[0] // factor, image.shape[1] // factor) != tuple(render.shape[:2]):
        raise ValueError(f"image {tuple(image.shape)} by {factor} is not of the size {tuple(render.shape)}")
    if weight is not None and weight.shape[:2] != image.shape[:2]:
        raise ValueError(f"weight {tuple(weight.shape)} is not of the image's size {tuple(image.shape)}")
    if render.is_cuda or render.dtype != torch.float32 or image.dtype != torch.uint8:
        shown = render + (1 - alpha) * background
        if weight is None:
            return (shown - recorded_image(image, background, factor)).abs().mean()
        weight = weight.to(render)
        counts = recorded_image(weight, background, factor)
        counted = recorded_image(weight * composite(image, background), background, factor)
        truth = torch.where(counts > 0, counted / counts, counted)
        return (counts * (shown - truth).abs()).mean()
    weights = torch.empty(0, 0, 1) if weight is None else weight.float()
    arrays = (x.contiguous() for x in (render, alpha, image, background, weights))
    return _MeanError.apply(*arrays, factor)  # type: ignore[no-any-return]


def image_loss(
    render: Float[Tensor, "H W 3"],
    alpha: Float[Tensor, "H W 1"],
    image: Shaped[Tensor, "H2 W2 C"],
    background: Float[Tensor, "3"],
    factor: int = 1,
    ssim_weight: float = 0.0,
    weight: Float[Tensor, "H2 W2 1"] | None = None,
) -> Float[Tensor, ""]:
    """Compare with a recorded image: ``(1 - w) L1 + w (1 - SSIM)`` (3DGS, equation 7).

    Args:
        render: Colours, premultiplied by the accumulation.
        alpha: Accumulation of the rendering.
        image: Recorded image, RGB or RGBA with straight alpha, uint8 or float in 0..1.
        background: Colour behind both; it gets no gradient.
        factor: Blocks of this many pixels a side of the image are averaged to one of the rendering.
        ssim_weight: ``w``, 0..1.
        weight: How much each pixel of the image counts, 0..1; None for all alike. Where it is 0 the rendering
            stands in for the image, so that no error and no gradient comes from there.

    Raises:
        ValueError: image or weight is not of the rendering's size times the factor.
    """
    if not ssim_weight:
        return mean_absolute_error(render, alpha, image, background, factor, weight)
    if weight is None:
        error = mean_absolute_error(render, alpha, image, background, factor)
        shown, truth = render + (1 - alpha) * background, recorded_image(image, background, factor)
    else:
        if weight.shape[:2] != image.shape[:2]:
            raise ValueError(f"weight {tuple(weight.shape)} is not of the image's size {tuple(image.shape)}")
        weight = weight.to(render)
        counts = recorded_image(weight, background, factor)
        counted = recorded_image(weight * composite(image, background), background, factor)
        shown = render + (1 - alpha) * background
        # Exactly none: SSIM's windows reach further, and its rounding is enough for Adam to take full steps.
        shown = torch.where(counts > 0, shown, shown.detach())
        truth = counted + (1 - counts) * shown.detach()
        error = (shown - truth).abs().mean()
    return (1 - ssim_weight) * error + ssim_weight * (1 - ssim(shown, truth))
