"""Projection, covariances, harmonics and tile lists against gsplat's own torch code, which runs on the CPU.

gsplat's rasteriser itself needs CUDA; test_against_cuda.py compares with it.
"""

import importlib.metadata
import math

import pytest
import raster_reference as reference
import torch
from gsplat.cuda import _torch_impl as gsplat_torch
from raster_helpers import leaves, scene

from dyn3d_ns.rendering import rasterize
from dyn3d_ns.rendering.api import installed_radius_rule

MODELS = ("pinhole", "ortho", "fisheye")
needs_gsplat_1_4 = pytest.mark.skipif(
    installed_radius_rule() != "square",
    reason="the installed gsplat's torch code has the tight radius rule: pip install gsplat==1.4.0",
)


def _wide_scene(model, seed=0, n=200, cameras=3):
    """Return Gaussians inside, around and behind the views."""
    arguments = scene(n=n, cameras=cameras, seed=seed, spread=4.0, size=0.15)
    arguments["Ks"] = arguments["Ks"].clone()
    if model == "ortho":
        arguments["Ks"][:, [0, 1], [0, 1]] *= 0.4
    return arguments


def _project_with_gsplat(a, model, antialiased=True):
    covars, _ = gsplat_torch._quat_scale_to_covar_preci(a["quats"], a["scales"], compute_preci=False)
    return gsplat_torch._fully_fused_projection(
        a["means"], covars, a["viewmats"], a["Ks"], a["width"], a["height"],
        calc_compensations=antialiased, camera_model=model,
    )  # fmt: skip


@needs_gsplat_1_4
@pytest.mark.parametrize("model", MODELS)
def test_projection_values(model):
    a = _wide_scene(model)
    high = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in a.items()}
    radii, means2d, depths, conics, compensations = _project_with_gsplat(high, model)
    _, _, info = rasterize(
        **a, camera_model=model, packed=False, rasterize_mode="antialiased", radius_rule="square"
    )
    # ceil(3 sigma) may fall either way where 3 sigma is whole to float32's digits
    same = info["radii"] == radii
    assert same.float().mean() > 0.995 and ((info["radii"] - radii).abs()[~same] <= 1).all()
    seen = (radii > 0) & (info["radii"] > 0)
    assert 0.1 < seen.float().mean() < 0.9  # some are culled
    for name, want in (("means2d", means2d), ("depths", depths), ("conics", conics)):
        torch.testing.assert_close(info[name][seen].double(), want[seen], rtol=2e-5, atol=2e-5)
    faded = high["opacities"] * compensations
    torch.testing.assert_close(info["opacities"][seen].double(), faded[seen], rtol=2e-5, atol=2e-6)


@needs_gsplat_1_4
@pytest.mark.parametrize("model", MODELS)
def test_projection_gradients(model):
    """Gradients of a random sum of means2d, depths, conics and compensations, through both."""
    from dyn3d_ns.rendering.autograd import Project, ProjectionSettings
    from dyn3d_ns.rendering.projection import SQUARE_RADIUS

    a = _wide_scene(model, seed=4)
    low, high = leaves(a), leaves(a, torch.float64)
    settings = ProjectionSettings(
        a["width"], a["height"], 0.01, 1e10, 0.0, 0.3, MODELS.index(model), SQUARE_RADIUS, True
    )
    m, z, q, f, radii = Project.apply(
        low["means"], low["quats"], low["scales"], None, None, low["viewmats"], low["Ks"], settings
    )
    want_radii, *want = _project_with_gsplat(high, model)
    seen = (radii[:, 0] > 0) & (want_radii > 0)
    # gsplat's own compensation has no gradient where its determinant rounds to 0 or below
    seen &= want[3] > 1e-3
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(t.shape, generator=g) for t in (m, z, q, f)]
    for outputs in ((m, z, q, f), want):
        total = 0
        for output, weight in zip(outputs, weights, strict=True):
            part = (output * weight.to(output.dtype))[seen]
            total = total + part.sum() / float(part.detach().norm())
        total.backward()
    for name in ("means", "quats", "scales", "viewmats"):
        got, expected = low[name].grad, high[name].grad
        assert float((got - expected).norm() / expected.norm()) < 3e-5, name


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_gradient_of_the_compensation_alone(size):
    """It falls with the square of a Gaussian's size, and is no difference of larger numbers even so."""
    from dyn3d_ns.rendering.autograd import Project, ProjectionSettings
    from dyn3d_ns.rendering.projection import SQUARE_RADIUS

    a = scene(n=60, seed=2, spread=1.0)
    a["scales"] = size * (0.3 + torch.rand(60, 3, generator=torch.Generator().manual_seed(0)))
    low, high = leaves(a), leaves(a, torch.float64)
    settings = ProjectionSettings(a["width"], a["height"], 0.3, 1e10, 0.0, 0.3, 0, SQUARE_RADIUS, True)
    _, _, _, compensations, radii = Project.apply(
        low["means"], low["quats"], low["scales"], None, None, low["viewmats"], low["Ks"], settings
    )
    _, _, _, want, _ = reference.project(
        high["means"], high["quats"], high["scales"], high["opacities"], high["viewmats"][0], high["Ks"][0],
        a["width"], a["height"], antialiased=True,
    )  # fmt: skip
    compensations.sum().backward()  # 0 where culled
    want[radii[0, 0] > 0].sum().backward()
    for name in ("scales", "means", "quats"):
        got, expected = low[name].grad, high[name].grad
        assert float((got - expected).norm() / expected.norm()) < 3e-5, name


def test_radii_of_the_tight_rule():
    """gsplat 1.5: ceil(min(3.33, sqrt(2 ln(255 opacity))) sigma) an axis, from the blurred covariance."""
    a = _wide_scene("pinhole", seed=8)
    a["opacities"][:20] = torch.logspace(-3.5, -1, 20)
    high = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in a.items()}
    _, means2d, depths, conics, compensations = _project_with_gsplat(high, "pinhole")
    determinant = 1 / (conics[..., 0] * conics[..., 2] - conics[..., 1] ** 2)
    sigmas = (torch.stack([conics[..., 2], conics[..., 0]], dim=-1) * determinant[..., None]).sqrt()
    for mode in ("classic", "antialiased"):
        opacities = high["opacities"] * compensations if mode == "antialiased" else high["opacities"]
        extent = (2 * (255 * opacities).clamp_min(1).log()).sqrt().clamp_max(3.33)
        want = (extent.expand(depths.shape)[..., None] * sigmas).ceil()
        visible = (255 * opacities >= 1) & (depths >= 0.01) & (want > 0).all(-1)
        size = torch.tensor([a["width"], a["height"]])
        visible &= ((means2d + want > 0) & (means2d - want < size)).all(-1)
        _, _, info = rasterize(**a, packed=False, rasterize_mode=mode, radius_rule="tight")
        got = info._radii.permute(0, 2, 1)
        different = (got - want * visible[..., None]).abs()
        assert (different > 0).float().mean() < 0.005 and different.max() <= 1
        assert 0.1 < visible.float().mean() < 0.9


def test_radii_have_the_shape_that_the_installed_strategies_read():
    """Whatever the rule: gsplat 1.4's read [C, N], 1.5's [C, N, 2]."""
    a = _wide_scene("pinhole", seed=8)
    whole, packed = (rasterize(**a, packed=p, radius_rule="tight")[2] for p in (False, True))
    both = whole._radii.permute(0, 2, 1).int()
    want = both if installed_radius_rule() == "tight" else both.amax(dim=-1)
    assert torch.equal(whole["radii"], want)
    assert torch.equal(packed["radii"], want[packed["camera_ids"], packed["gaussian_ids"]])


def test_covariances():
    """Our 2-D covariance of one Gaussian before an orthographic camera is the upper left of gsplat's 3-D."""
    g = torch.Generator().manual_seed(0)
    quats, scales = torch.randn(50, 4, generator=g), 0.05 + torch.rand(50, 3, generator=g)
    want, _ = gsplat_torch._quat_scale_to_covar_preci(quats.double(), scales.double(), compute_preci=False)
    _, _, info = rasterize(
        torch.zeros(50, 3), quats, scales, torch.ones(50), torch.ones(50, 1),
        torch.eye(4)[None], torch.tensor([[[10.0, 0, 5], [0, 10.0, 5], [0, 0, 1]]]), 10, 10,
        near_plane=-1.0, camera_model="ortho", packed=False, eps2d=0.0,
    )  # fmt: skip
    a, b, c = info["conics"][0].double().unbind(-1)
    got = (
        torch.stack([torch.stack([c, -b], -1), torch.stack([-b, a], -1)], -2) / (a * c - b * b)[:, None, None]
    )
    error = (got / 100 - want[:, :2, :2]).flatten(1).norm(dim=1) / want[:, :2, :2].flatten(1).norm(dim=1)
    assert error.max() < 1e-4


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree):
    """Colours and gradients of directions and coefficients, with gsplat's basis functions."""
    from dyn3d_ns.rendering.autograd import HarmonicColors

    g = torch.Generator().manual_seed(degree)
    n, bands = 70, (degree + 1) ** 2
    means, coefficients = torch.randn(n, 3, generator=g), 0.5 * torch.randn(n, bands, 3, generator=g)
    centers, weights = torch.randn(2, 3, generator=g), torch.randn(2, n, 3, generator=g)
    low = [t.clone().requires_grad_() for t in (means, coefficients, centers)]
    high = [t.double().requires_grad_() for t in (means, coefficients, centers)]
    got = HarmonicColors.apply(low[0], low[1], low[2], torch.ones(2, 2, n), degree)
    directions = high[0] - high[2][:, None]
    shared = high[1].expand(2, n, bands, 3)
    want = (gsplat_torch._spherical_harmonics(degree, directions, shared) + 0.5).clamp_min(0.0)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-6)
    assert 0.01 < (want == 0).float().mean() < 0.5 or degree == 0  # the clamp is at work
    (got * weights).sum().backward()
    (want * weights.double()).sum().backward()
    for x, y in zip(low, high, strict=True):
        if degree == 0 and x is not low[1]:
            continue  # a constant has no gradient by the direction
        assert float((x.grad - y.grad).norm() / y.grad.norm()) < 5e-6


def test_radii_are_there_when_asked_for():
    _, _, info = rasterize(**scene(n=0))
    assert "radii" not in set(info.keys()) and "radii" in info and "isect_ids" not in info
    assert info.get("radii").shape == (0,) and info["radii"].dtype == torch.int32
    assert "radii" in set(info.keys()) and info.get("nothing", 5) == 5
    with pytest.raises(KeyError, match="nothing"):
        info["nothing"]


def test_tiles_in_info_cover_the_image():
    a = scene(n=3)
    for tile_size in (16, 7):
        _, _, info = rasterize(**a, tile_size=tile_size)
        grid = (math.ceil(a["width"] / tile_size), math.ceil(a["height"] / tile_size))
        assert (info["tile_width"], info["tile_height"], info["tile_size"]) == (*grid, tile_size)


def test_signature_is_gsplats():
    """Same names in the same order; ours adds keyword-only ones."""
    import inspect

    from gsplat.rendering import rasterization

    ours = inspect.signature(rasterize).parameters
    theirs = inspect.signature(rasterization).parameters
    positional = [k for k, p in ours.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert importlib.metadata.version("gsplat").startswith("1.4") is (positional == list(theirs))
    for name in set(positional) & set(theirs):
        if name != "covars":
            assert ours[name].default == theirs[name].default, name
