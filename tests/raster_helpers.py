"""Scenes for the rasteriser's tests, and the comparison with the float64 reference."""

import math

import raster_reference as reference
import torch

from dyn3d_ns.rendering import rasterize

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds", "covars")
# arguments of ours that the reference does not know: they must change nothing
OURS = ("packed", "sparse_grad", "absgrad", "channel_chunk", "tile_size")


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


def whole_covars(arguments):
    """Return the same scene with covariance matrices instead of quaternions and scales."""
    arguments = dict(arguments)
    M = reference.rotation(arguments["quats"]) * arguments["scales"][:, None, :]
    covars = (M @ M.transpose(-1, -2)).contiguous()
    return {**arguments, "quats": None, "scales": None, "covars": covars}


def leaves(arguments, dtype=torch.float32):
    """Return the arguments with every differentiable tensor as a leaf of its own."""
    return {
        k: v.detach().to(dtype).clone().requires_grad_()
        if k in NAMES and v is not None
        else v.to(dtype)
        if isinstance(v, torch.Tensor)
        else v
        for k, v in arguments.items()
    }


def gradients(arguments):
    """Return the dense gradients of leaves by name, those that exist."""
    tensors = {k: v for k, v in arguments.items() if isinstance(v, torch.Tensor) and v.grad is not None}
    return {k: v.grad.to_dense() if v.grad.is_sparse else v.grad for k, v in tensors.items()}


def _random_like(tensor, seed):
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def compare(
    arguments, image_tolerance=5e-6, grad_tolerance=3e-5, seed=0, weights=None, tight=False, **options
):
    """Compare image, alphas and all gradients with the reference; return the errors and info.

    The loss is the sum of image and alphas under random weights, or of the image under `weights`. Pixels
    where float32 may decide a threshold otherwise than float64 are left out, from the gradients as well.
    """
    low, high = leaves(arguments), leaves(arguments, torch.float64)
    ours = {k: options.pop(k) for k in OURS if k in options}
    edge = torch.zeros(len(low["viewmats"]), low["height"], low["width"], dtype=torch.bool)
    want, want_alpha = reference.rasterize(**high, **options, tight=tight, near_edge=edge)
    got, got_alpha, info = rasterize(
        **low, **options, **{"packed": False, **ours}, radius_rule="tight" if tight else "square"
    )
    assert got.shape == want.shape and got_alpha.shape == want_alpha.shape
    keep = (~edge)[..., None]
    assert keep.float().mean() > 0.9
    scale = want.detach().abs().amax(dim=(0, 1, 2)).clamp_min(1.0)  # depth has one of its own
    errors = {
        "image": float(((got - want).detach().abs() * keep / scale).max()),
        "alpha": float(((got_alpha - want_alpha).detach().abs() * keep).max()),
    }
    assert max(errors.values()) < image_tolerance, errors
    alpha_weights = _random_like(got_alpha, seed + 1) if weights is None else torch.zeros(())
    weights = _random_like(got, seed) if weights is None else weights
    for image, alphas in ((got, got_alpha), (want, want_alpha)):
        kind = image.dtype
        (
            (image * (weights * keep).to(kind)).sum() + (alphas * (alpha_weights * keep).to(kind)).sum()
        ).backward()
    got_grads, want_grads = gradients(low), gradients(high)
    for name, expected in want_grads.items():
        assert got_grads[name].isfinite().all(), name
        errors[name] = float((got_grads[name] - expected).norm()) / max(float(expected.norm()), 1e-12)
    bad = {k: v for k, v in errors.items() if k not in ("image", "alpha") and v > grad_tolerance}
    assert not bad, errors
    return errors, info
