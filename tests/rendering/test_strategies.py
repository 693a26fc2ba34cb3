"""Both densification strategies run whole loops on the CPU, with an extra entry per Gaussian."""

import math

import pytest
import torch
from raster_helpers import scene

from dyn3d_ns.rendering import rasterize
from dyn3d_ns.rendering.strategies import DefaultStrategy, MCMCStrategy, compute_relocation


def _binoms(size=51):
    return torch.tensor([[float(math.comb(n, k)) for k in range(size)] for n in range(size)])


def test_relocation_follows_equation_9():
    opacities, scales = torch.tensor([0.2, 0.7, 0.9]), torch.rand(3, 3) + 0.1
    ratios = torch.tensor([1, 2, 3])
    new, new_scales = compute_relocation(opacities, scales, ratios, _binoms())
    torch.testing.assert_close((1 - new) ** ratios, 1 - opacities)  # the copies let as much light through
    for i, n in enumerate(ratios.tolist()):
        total = sum(
            math.comb(j - 1, k) * (-1) ** k / math.sqrt(k + 1) * float(new[i]) ** (k + 1)
            for j in range(1, n + 1)
            for k in range(j)
        )
        torch.testing.assert_close(new_scales[i], scales[i] * float(opacities[i]) / total)
    torch.testing.assert_close(new_scales[0], scales[0])  # one copy is the Gaussian itself


@pytest.mark.parametrize("kind", ["default", "mcmc"])
@pytest.mark.parametrize("packed", [False, True])
def test_full_loop_resizes_everything_together(kind, packed):
    torch.manual_seed(0)
    a = scene(n=60, seed=4, background=False)
    params = {
        "means": a["means"],
        "scales": a["scales"].log(),
        "quats": a["quats"],
        "opacities": torch.logit(a["opacities"].clamp(0.001, 0.99)),
        "colors": a["colors"],
        "motion": torch.randn(60, 4),
    }
    params = {k: torch.nn.Parameter(v.clone()) for k, v in params.items()}
    optimizers = {k: torch.optim.Adam([p], lr=1e-3) for k, p in params.items()}
    if kind == "default":
        strategy = DefaultStrategy(refine_start_iter=2, refine_every=5, grow_grad2d=1e-5, reset_every=20)
        state = strategy.initialize_state(scene_scale=1.0)
    else:
        strategy = MCMCStrategy(cap_max=90, refine_start_iter=2, refine_every=5, min_opacity=0.1)
        state = strategy.initialize_state()
    strategy.check_sanity(params, optimizers)
    target = torch.rand(1, a["height"], a["width"], 3)
    for step in range(31):
        image, _, info = rasterize(
            params["means"], params["quats"], params["scales"].exp(), params["opacities"].sigmoid(),
            params["colors"] + 0 * params["motion"][:, :3], a["viewmats"], a["Ks"], a["width"], a["height"],
            packed=packed,
        )  # fmt: skip
        if kind == "default":
            strategy.step_pre_backward(params, optimizers, state, step, info)
        (image - target).abs().mean().backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if kind == "default":
            assert info["means2d"].grad.abs().sum() > 0
            strategy.step_post_backward(params, optimizers, state, step, info, packed=packed)
        else:
            strategy.step_post_backward(params, optimizers, state, step, info, lr=1e-3)
        sizes = {len(p) for p in params.values()}
        assert len(sizes) == 1
        for name, optimizer in optimizers.items():
            assert optimizer.param_groups[0]["params"][0] is params[name]
            moments = optimizer.state[params[name]]
            assert moments["exp_avg"].shape == params[name].shape
    assert sizes != {60}
    assert all(p.isfinite().all() for p in params.values())


def test_absgrad_is_the_sum_of_absolute_pixel_gradients():
    a = scene(n=1, seed=2, background=False)
    means = a.pop("means").requires_grad_()
    total = None
    for column in range(a["width"]):  # one pixel column at a time bounds the sum from below
        image, _, info = rasterize(means, **a, packed=False, absgrad=True)
        info["means2d"].retain_grad()
        image[0, :, column].sum().backward()
        grad, absolute = info["means2d"].grad, info["means2d"].absgrad
        assert (absolute >= grad.abs() - 1e-6).all()
        total = absolute if total is None else total + absolute
    image, _, info = rasterize(means, **a, packed=False, absgrad=True)
    info["means2d"].retain_grad()
    image.sum().backward()
    torch.testing.assert_close(info["means2d"].absgrad, total, rtol=1e-4, atol=1e-5)
