"""Scenes for the rasteriser's tests, and the comparison with the float64 reference."""

import math

import raster_reference as reference
import torch

from dyn3d_ns.rendering import rasterize

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds", "covars")


def scene(
    n=40, cameras=1, width=50, height=38, channels=3, seed=0, sh=None, spread=1.0, background=True, size=0.08
):
    """Return keyword arguments of a random scene before `cameras` cameras, float32 leaves."""
    g = torch.Generator().manual_seed(seed)
    means = (torch.rand(n, 3, generator=g) - 0.5) * spread
    shape = (n, channels) if sh is None else (n, (sh + 1) ** 2 + 2, 3)
    colors = torch.rand(*shape, generator=g) - (0.0 if sh is None else 0.5)
    focal = width / 2 / math.tan(math.radians(25))
    viewmats = []
    for _ in range(cameras):
        q = torch.tensor([1.0, 0, 0, 0]) + 0.15 * torch.randn(4, generator=g)
        V = torch.eye(4)
        V[:3, :3] = reference.rotation(q[None])[0]
        V[:3, 3] = torch.tensor([0.0, 0.0, 1.8]) + 0.1 * torch.randn(3, generator=g)
        viewmats.append(V)
    K = torch.tensor([[focal, 0, width / 2 + 0.7], [0, focal * 1.1, height / 2 - 0.4], [0, 0, 1]])
    out = {
        "means": means,
        "quats": torch.randn(n, 4, generator=g),
        "scales": size * (0.2 + torch.rand(n, 3, generator=g)),
        "opacities": 0.05 + 0.95 * torch.rand(n, generator=g),
        "colors": colors,
        "viewmats": torch.stack(viewmats),
        "Ks": K.expand(cameras, 3, 3).contiguous(),
        "width": width,
        "height": height,
    }
    if sh is not None:
        out["sh_degree"] = sh
    if background:
        out["backgrounds"] = torch.rand(cameras, channels if sh is None else 3, generator=g)
    return out


def compare(arguments, image_tolerance=5e-6, grad_tolerance=3e-5, seed=0, **options):
    """Compare image, alphas and all gradients with the reference; return the errors."""
    low = {k: v.clone().requires_grad_() if k in NAMES and v is not None else v for k, v in arguments.items()}
    high = {
        k: v.detach().double().requires_grad_(v.requires_grad) if isinstance(v, torch.Tensor) else v
        for k, v in low.items()
    }
    extra = {k: options.pop(k) for k in ("packed", "absgrad", "channel_chunk") if k in options}
    tight = options.pop("tight", False)
    cameras, shape = len(low["viewmats"]), (low["height"], low["width"])
    edge = torch.zeros(cameras, *shape, dtype=torch.bool)
    want, want_alpha = reference.rasterize(**high, **options, tight=tight, near_edge=edge)
    got, got_alpha, info = rasterize(
        **low, **options, **{"packed": False, **extra}, radius_rule="tight" if tight else "square"
    )
    assert got.shape == want.shape and got_alpha.shape == want_alpha.shape
    keep = (~edge)[..., None]
    assert keep.float().mean() > 0.9
    scale = max(1.0, float(want.detach().abs().max()))
    error = float(((got - want).detach().abs() * keep).max()) / scale
    alpha_error = float(((got_alpha - want_alpha).detach().abs() * keep).max())
    assert error < image_tolerance and alpha_error < image_tolerance, (error, alpha_error)
    g = torch.Generator().manual_seed(seed)
    weights, alpha_weights = (
        torch.randn(got.shape, generator=g) * keep,
        torch.randn(got_alpha.shape, generator=g) * keep,
    )
    ((got * weights).sum() + (got_alpha * alpha_weights).sum()).backward()
    ((want * weights.double()).sum() + (want_alpha * alpha_weights.double()).sum()).backward()
    errors = {"image": error, "alpha": alpha_error}
    for name in NAMES:
        if (
            isinstance(low.get(name), torch.Tensor)
            and low[name].requires_grad
            and high[name].grad is not None
        ):
            got_grad = low[name].grad.to_dense() if low[name].grad.is_sparse else low[name].grad
            assert got_grad.isfinite().all(), name
            size = float(high[name].grad.norm())
            errors[name] = float((got_grad - high[name].grad).norm()) / max(size, 1e-12)
    bad = {k: v for k, v in errors.items() if k not in ("image", "alpha") and v > grad_tolerance}
    assert not bad, errors
    return errors, info
