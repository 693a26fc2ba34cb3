"""The float64 reference against central differences, and the kernels against them on a smooth scene.

A smooth scene is one where no threshold is crossed within a step: Gaussians of middling opacity that cover
the whole image, so that alpha stays within 1/255 and 0.999 and no pixel goes opaque.
"""

import math

import pytest
import raster_reference as reference
import torch
from raster_helpers import NAMES, leaves

from dyn3d_ns.rendering import rasterize

SIZE = 12


def smooth_scene(model="pinhole", degree=None):
    """Return 4 wide Gaussians before a camera of 12 px."""
    g = torch.Generator().manual_seed(3)
    n = 4
    V = torch.eye(4)
    V[:3, :3] = reference.rotation(torch.tensor([[1.0, 0.1, -0.06, 0.04]]))[0]
    V[:3, 3] = torch.tensor([0.05, -0.03, 2.0])
    focal = 10.0 if model == "ortho" else 16.0
    out = {
        "means": 0.3 * torch.randn(n, 3, generator=g),
        "quats": torch.randn(n, 4, generator=g),
        "scales": 0.9 + 0.6 * torch.rand(n, 3, generator=g),
        "opacities": 0.3 + 0.3 * torch.rand(n, generator=g),
        "colors": torch.rand(n, 4, generator=g),
        "viewmats": V[None],
        "Ks": torch.tensor([[[focal, 0, SIZE / 2], [0, focal * 1.1, SIZE / 2 - 0.3], [0, 0, 1]]]),
        "width": SIZE,
        "height": SIZE,
        "backgrounds": torch.rand(1, 4, generator=g),
    }
    if degree is not None:
        bands = torch.randn(n, (degree + 1) ** 2, 3, generator=g) * 0.1
        out |= {"colors": bands, "sh_degree": degree, "backgrounds": torch.rand(1, 3, generator=g)}
    return out


def _loss(render, arguments, **options):
    image, alphas, *_ = render(**arguments, **options)
    g = torch.Generator().manual_seed(1)
    weights = torch.rand(*image.shape[:-1], image.shape[-1] + 1, generator=g).to(image.dtype)
    return (torch.cat([image, alphas], dim=-1) * weights).sum()


def _directional(render, arguments, name, direction, step, **options):
    """Return the fourth-order central difference along one direction."""
    total = 0.0
    for factor, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
        moved = dict(arguments)
        moved[name] = arguments[name] + factor * step * direction
        total += weight * float(_loss(render, moved, **options)) / step
    return total


def _direction(arguments, name, seed):
    d = torch.randn(arguments[name].shape, generator=torch.Generator().manual_seed(seed))
    if name == "viewmats":
        d[:, 3] = 0  # the last row is no parameter
    return (d / d.norm()).to(arguments[name].dtype)


CASES = [
    pytest.param("pinhole", {"render_mode": "RGB+ED", "rasterize_mode": "antialiased"}, None, id="pinhole"),
    pytest.param("ortho", {"render_mode": "RGB+D", "rasterize_mode": "antialiased"}, None, id="ortho"),
    pytest.param("fisheye", {"render_mode": "RGB+ED"}, None, id="fisheye"),
    pytest.param("pinhole", {"render_mode": "D"}, None, id="depth"),
    pytest.param("pinhole", {"tight": True}, 4, id="harmonics"),
]


@pytest.mark.parametrize(("model", "options", "degree"), CASES)
def test_the_reference_has_the_gradients_of_its_values(model, options, degree):
    arguments = leaves(smooth_scene(model, degree), torch.float64)
    _loss(reference.rasterize, arguments, camera_model=model, **options).backward()
    with torch.no_grad():
        for name in NAMES:
            if arguments.get(name) is None or arguments[name].grad is None:
                continue
            for seed in range(3):
                d = _direction(arguments, name, seed)
                want = _directional(
                    reference.rasterize, arguments, name, d, 1e-3, camera_model=model, **options
                )
                got = float((arguments[name].grad * d).sum())
                assert math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-7), (name, got, want)


@pytest.mark.parametrize(("model", "options", "degree"), CASES)
def test_the_kernels_have_the_gradients_of_their_values(model, options, degree):
    """Differences of float32 values: the step is wide and the scene smooth, so three digits are left."""
    arguments = leaves(smooth_scene(model, degree))
    options = {**options, "camera_model": model}
    options["radius_rule"] = "tight" if options.pop("tight", False) else "square"
    _loss(rasterize, arguments, **options).backward()
    with torch.no_grad():
        for name in NAMES:
            if arguments.get(name) is None or arguments[name].grad is None:
                continue
            scale = float(arguments[name].grad.norm())
            for seed in range(3):
                d = _direction(arguments, name, seed)
                want = _directional(rasterize, arguments, name, d, 2e-2, **options)
                got = float((arguments[name].grad * d).sum())
                assert abs(got - want) < 2e-3 * max(scale, 0.1), (name, got, want, scale)
