"""The one-pass kernels of motion, colour and image error against the same formulas in float64 autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dyn3d_ns.fields.motion_table import mean_square, motion_table
from dyn3d_ns.gaussians.colors import carried_colors
from dyn3d_ns.gaussians.skinning import BEND, apply_motions
from dyn3d_ns.losses.photometric import mean_absolute_error, recorded_image


def check_against_float64(function: Callable, inputs: list[Tensor], fixed: tuple = ()) -> None:
    """Compare values and gradients, with the outputs weighted at random."""
    single = [x.clone().requires_grad_() for x in inputs]
    double = [x.double().requires_grad_() for x in inputs]
    results = []
    for arguments in (single, double):
        extra = [
            x.to(arguments[0].dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in fixed
        ]
        outputs = function(*arguments, *extra)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(o.shape, generator=generator) for o in outputs]
        sum((o * w.to(o)).sum() for o, w in zip(outputs, weights, strict=True)).backward()
        results.append(outputs)
    for value, expected in zip(*results, strict=True):
        largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6 * max(largest, 10.0))
    for x, y in zip(single, double, strict=True):
        assert x.grad is not None and y.grad is not None
        scale = float(y.grad.abs().max()) if y.grad.numel() else 0.0
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-5, atol=1e-5 * max(scale, 1e-12))


@pytest.mark.parametrize("latents", [0, 2])
@pytest.mark.parametrize("turn", [0.0, 1e-6, 0.0099, 0.0101, 1.0, 9.0])
def test_table_of_motions(turn: float, latents: int) -> None:
    torch.manual_seed(0)
    weights, coefficients, pivots = torch.randn(5), torch.randn(5, 7, 6 + latents), torch.randn(8, 3)
    rotation = torch.tensordot(weights, coefficients[..., 3:6], dims=1).norm(dim=-1, keepdim=True)
    coefficients[..., 3:6] *= turn / rotation
    check_against_float64(lambda c, w, p: motion_table(w, c, p), [coefficients], fixed=(weights, pivots))


def test_mean_square() -> None:
    torch.manual_seed(0)
    columns, matrix = torch.randn(5, 7, 6), torch.randn(9, 5)
    check_against_float64(lambda c, b: mean_square(b, c, 0.3), [columns], fixed=(matrix,))


@pytest.mark.parametrize("rows", [0, 1, 5000])
@pytest.mark.parametrize(("motions", "latents"), [(1, 0), (16, 0), (3, 2), (16, 8)])
def test_skinning(rows: int, motions: int, latents: int) -> None:
    torch.manual_seed(0)
    shapes = ((rows, motions), (motions, 16 + latents), (rows, latents, BEND), (rows, 3), (rows, 4))
    check_against_float64(apply_motions, [torch.randn(*s) for s in shapes])


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("latents", [0, 4])
def test_skinning_by_bodies(coded: bool, latents: int) -> None:
    """Where each Gaussian follows one motion, with and without gradients of the codes; a fifth rests."""
    torch.manual_seed(0)
    rows, motions = 3000, 5
    codes = torch.nn.functional.one_hot(torch.arange(rows) % motions, motions).float()
    rest = torch.zeros(1, 16 + latents)
    rest[0, [0, 4, 8, 12]] = 1
    shapes = ((motions - 1, 16 + latents), (rows, latents, BEND), (rows, 3), (rows, 4))
    inputs = [torch.randn(*s) for s in shapes]

    def moved(table: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        *others, last = others
        table = torch.cat([rest.to(table), table])
        return apply_motions(last, table, *others)  # type: ignore[arg-type]

    def moved_by(codes: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        return moved(*others, codes)

    if coded:
        check_against_float64(moved_by, [codes, *inputs])
    else:
        check_against_float64(moved, inputs, fixed=(codes,))
    means, quats = moved(*inputs, codes)
    assert torch.equal(means[::motions], inputs[2][::motions]), "what rests is copied, bit by bit"
    assert torch.equal(quats[::motions], inputs[3][::motions])


@pytest.mark.parametrize(("rows", "waves", "rest"), [(0, 3, 3), (1, 1, 0), (5000, 3, 8), (5000, 0, 3)])
@pytest.mark.parametrize("turning", [False, True])
def test_colours_that_follow_time_and_matter(rows: int, waves: int, rest: int, turning: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(*s) for s in ((rows, 3), (rows, waves, 3), (rows, rest, 3))]
    quats = [torch.randn(rows, 4), torch.randn(rows, 4)]

    def colors(base: Tensor, changes: Tensor, rest: Tensor, values: Tensor, *turn: Tensor) -> Tensor:
        return carried_colors(base, changes, rest, values, (turn[0], turn[1]) if turning else None)

    check_against_float64(colors, inputs, fixed=(torch.randn(waves), *quats))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_image_error(channels: int, factor: int) -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (67, 40, channels), dtype=torch.uint8)
    size = (67 // factor, 40 // factor)
    inputs = [torch.rand(*size, 3), torch.rand(*size, 1)]
    fixed = (image, torch.tensor([0.9, 0.1, 0.4]), factor)
    check_against_float64(mean_absolute_error, inputs, fixed)


def test_image_error_is_zero_for_the_recorded_image_itself() -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (40, 40, 4), dtype=torch.uint8)
    background = torch.tensor([0.2, 0.5, 1.0])
    truth = recorded_image(image, background, 2)
    assert float(mean_absolute_error(truth, torch.ones(20, 20, 1), image, background, 2)) < 1e-7


def test_image_error_rejects_another_size() -> None:
    with pytest.raises(ValueError, match=r"image \(8, 8, 3\) by 2 is not of the size \(5, 4, 3\)"):
        image = torch.zeros(8, 8, 3, dtype=torch.uint8)
        mean_absolute_error(torch.zeros(5, 4, 3), torch.zeros(5, 4, 1), image, torch.ones(3), 2)


def test_recorded_image_lays_alpha_over_the_background_before_averaging() -> None:
    image = torch.zeros(2, 2, 4, dtype=torch.uint8)
    image[0, 0] = torch.tensor([255, 0, 0, 255])
    small = recorded_image(image, torch.tensor([0.0, 0.0, 1.0]), 2)
    torch.testing.assert_close(small, torch.tensor([[[0.25, 0.0, 0.75]]]))
