"""The CPU kernels against `gsplat.rasterization` on a GPU, forward and backward, at 1e-4."""

import pytest
import raster_reference as reference
import torch
from raster_helpers import gradients, leaves, scene, whole_covars

from dyn3d_ns.rendering import rasterize
from dyn3d_ns.rendering.api import installed_radius_rule

pytestmark = pytest.mark.gpu
TOLERANCE = 1e-4


def _to_cuda(arguments):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}


def _undecided(arguments, options):
    """Return the pixels where the rounding of either side decides a threshold, found in float64."""
    high = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    shape = (len(arguments["viewmats"]), arguments["height"], arguments["width"])
    edge = torch.zeros(shape, dtype=torch.bool)
    known = {k: v for k, v in options.items() if k not in ("packed", "sparse_grad", "absgrad")}
    reference.rasterize(**high, **known, tight=installed_radius_rule() == "tight", near_edge=edge)
    return edge[..., None]


def _compare(arguments, **options):
    keep = ~_undecided(arguments, options)
    sides = [leaves(arguments), leaves(_to_cuda(arguments))]
    results = []
    for a in sides:
        image, alphas, info = rasterize(**a, **options)
        info["means2d"].retain_grad()
        g = torch.Generator().manual_seed(0)
        weights = (torch.randn(image.shape, generator=g) * keep).to(image.device)
        alpha_weights = (torch.randn(alphas.shape, generator=g) * keep).to(image.device)
        ((image * weights).sum() + (alphas * alpha_weights).sum()).backward()
        results.append((image.detach().cpu(), alphas.detach().cpu(), info))
    (image, alphas, info), (want, want_alphas, want_info) = results
    scale = max(1.0, float(want.abs().max()))
    assert float(((image - want).abs() * keep).max()) < TOLERANCE * scale
    assert float(((alphas - want_alphas).abs() * keep).max()) < TOLERANCE
    got, expected = gradients(sides[0]), gradients(sides[1])
    assert got.keys() == expected.keys()
    for name, gradient in got.items():
        other = expected[name].cpu()
        assert float((gradient - other).norm()) < TOLERANCE * max(float(other.norm()), 1e-3), name
    return info, want_info


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
def test_modes_and_cameras(mode, rasterize_mode, model):
    arguments = scene(n=60, cameras=2, seed=1, sh=3)
    _compare(arguments, render_mode=mode, rasterize_mode=rasterize_mode, camera_model=model, packed=False)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 32])
def test_channels(channels):
    _compare(scene(n=40, channels=channels, seed=channels), packed=False)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree):
    _compare(scene(n=40, sh=degree, seed=degree, cameras=2), packed=True)


@pytest.mark.parametrize(
    "options", [{"near_plane": 1.8}, {"far_plane": 1.8}, {"radius_clip": 6.0}, {"eps2d": 1.0}]
)
def test_planes_clips_and_blur(options):
    _compare(scene(n=60, seed=3), packed=False, **options)


def test_covars():
    _compare(whole_covars(scene(n=40, seed=9)), packed=False)


def test_packed_info_and_absgrad():
    info, want = _compare(scene(n=60, cameras=2, spread=3.0, seed=5), packed=True, absgrad=True)
    for name in ("camera_ids", "gaussian_ids", "radii"):
        assert torch.equal(info[name].cpu().long(), want[name].cpu().long()), name
    for name in ("tile_width", "tile_height", "tile_size", "width", "height", "n_cameras"):
        assert info[name] == want[name], name
    for name in ("means2d", "depths", "conics", "opacities"):
        torch.testing.assert_close(info[name], want[name].cpu(), rtol=TOLERANCE, atol=TOLERANCE)
    got, expected = info["means2d"].grad, want["means2d"].grad.cpu()
    assert float((got - expected).norm()) < TOLERANCE * float(expected.norm())
    assert float((info["means2d"].absgrad - want["means2d"].absgrad.cpu()).norm()) < TOLERANCE * float(
        want["means2d"].absgrad.norm()
    )


def test_sparse_gradients():
    _compare(scene(n=60, spread=4.0, seed=6), packed=True, sparse_grad=True)


def test_a_large_scene():
    """20,000 Gaussians: all but the few pixels whose thresholds rounding decides."""
    arguments = scene(n=20_000, width=400, height=400, size=0.03, seed=7)
    with torch.no_grad():
        image, want = rasterize(**arguments)[0], rasterize(**_to_cuda(arguments))[0].cpu()
    different = (image - want).abs().amax(dim=-1)
    assert float((different > TOLERANCE).float().mean()) < 0.01 and float(different.max()) < 0.02


def test_relocation():
    """Equation 9 as gsplat's kernel computes it; the kernel sums alternating terms in float32."""
    import math

    from gsplat.relocation import compute_relocation as theirs

    from dyn3d_ns.gaussians.densify import compute_relocation

    binoms = torch.tensor([[float(math.comb(n, k)) for k in range(51)] for n in range(51)])
    g = torch.Generator().manual_seed(0)
    opacities, scales = 0.05 + 0.9 * torch.rand(500, generator=g), torch.rand(500, 3, generator=g)
    ratios = torch.randint(1, 8, (500,), generator=g)
    got = compute_relocation(opacities, scales, ratios, binoms)
    # the kernel takes int32 ratios and changes none of its inputs
    want = theirs(opacities.cuda(), scales.cuda(), ratios.int().cuda(), binoms.cuda())
    for ours, other in zip(got, want, strict=True):
        torch.testing.assert_close(ours, other.cpu(), rtol=1e-3, atol=1e-5)
