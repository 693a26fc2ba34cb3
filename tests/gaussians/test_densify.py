"""Both densification strategies run whole loops on the CPU, and every entry of a Gaussian follows it."""

import math

import pytest
import torch
from raster_helpers import scene

from dyn3d_ns.gaussians.densify import (
    DefaultStrategy,
    MCMCStrategy,
    compute_relocation,
    relocate,
    sample_add,
)
from dyn3d_ns.rendering import rasterize


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


def _training(n=60, seed=4, changed=None):
    """Return a scene with its parameters and optimizers; `label` and `colors` tell rows apart and stay."""
    torch.manual_seed(0)
    a = scene(n=n, seed=seed, background=False)
    params = {
        "means": a["means"],
        "scales": a["scales"].log(),
        "quats": a["quats"],
        "opacities": torch.logit(a["opacities"].clamp(0.001, 0.99)),
        "colors": a["colors"],
        "label": torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 4),
    }
    params |= changed or {}
    params = {k: torch.nn.Parameter(v.clone()) for k, v in params.items()}
    rates = {"colors": 0.0, "label": 0.0}
    optimizers = {k: torch.optim.Adam([p], lr=rates.get(k, 1e-3)) for k, p in params.items()}
    return a, params, optimizers


def _labels(params):
    assert (params["label"] == params["label"][:, :1]).all()
    return params["label"][:, 0].long()


def _train(strategy, a, params, optimizers, steps, packed=False, absgrad=False, after=None):
    """Fit a random image for some steps, with everything that belongs to a Gaussian checked after each."""
    mcmc = isinstance(strategy, MCMCStrategy)
    state = strategy.initialize_state() if mcmc else strategy.initialize_state(scene_scale=1.0)
    strategy.check_sanity(params, optimizers)
    target = torch.rand(1, a["height"], a["width"], 3)
    colors = params["colors"].detach().clone()
    for step in steps:
        image, _, info = rasterize(
            params["means"], params["quats"], params["scales"].exp(), params["opacities"].sigmoid(),
            params["colors"] + 0 * params["label"][:, :3], a["viewmats"], a["Ks"], a["width"], a["height"],
            packed=packed, absgrad=absgrad,
        )  # fmt: skip
        if not mcmc:
            strategy.step_pre_backward(params, optimizers, state, step, info)
        (image - target).abs().mean().backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if mcmc:
            strategy.step_post_backward(params, optimizers, state, step, info, lr=1e-3)
        else:
            assert info["means2d"].grad.abs().sum() > 0
            strategy.step_post_backward(params, optimizers, state, step, info, packed=packed)
        count = len(params["means"])
        for name, optimizer in optimizers.items():
            assert optimizer.param_groups[0]["params"] == [params[name]]
            assert len(params[name]) == count and list(optimizer.state) == [params[name]]
            assert optimizer.state[params[name]]["exp_avg"].shape == params[name].shape
            assert optimizer.state[params[name]]["exp_avg_sq"].shape == params[name].shape
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and key != "binoms":
                assert len(value) == count, key
        assert torch.equal(params["colors"], colors[_labels(params)])  # rows moved together
        if after is not None:
            after(step)
    assert all(p.isfinite().all() for p in params.values())
    return state


@pytest.mark.parametrize("absgrad", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_default_strategy_duplicates_splits_and_prunes(packed, absgrad):
    """Small Gaussians with high gradients are doubled, large ones halved, faint ones dropped."""
    a = scene(n=60, seed=4)
    scales, opacities = a["scales"].log(), torch.logit(a["opacities"].clamp(0.1, 0.99))
    scales[:20] = math.log(0.02)
    scales[20:] = math.log(0.08)
    opacities[50:] = torch.logit(torch.tensor(0.004))
    a, params, optimizers = _training(changed={"scales": scales, "opacities": opacities})
    strategy = DefaultStrategy(
        refine_start_iter=2, refine_every=5, grow_scale3d=0.05, prune_scale3d=10.0, grow_grad2d=1e-6,
        absgrad=absgrad,
    )  # fmt: skip
    history = {}

    def after(step):
        history[step] = (torch.bincount(_labels(params), minlength=60), params["scales"].detach().clone())

    _train(strategy, a, params, optimizers, range(1, 7), packed=packed, absgrad=absgrad, after=after)
    assert (history[4][0] == 1).all()
    copies, grown = history[5][0], history[5][1]
    assert not copies[50:].any()
    assert (copies[:50] <= 2).all() and (copies[:20] == 2).sum() >= 15 and (copies[20:50] == 2).sum() >= 25
    labels = _labels(params)
    for label in range(50):
        children = grown[labels == label]
        if copies[label] == 2:
            smaller = math.log(0.02) if label < 20 else math.log(0.08 / 1.6)
            assert (children - smaller).abs().max() < 0.05
            means = params["means"].detach()[labels == label]
            assert (float((means[0] - means[1]).norm()) < 0.01) is (label < 20)


@pytest.mark.parametrize("packed", [False, True])
def test_default_strategy_over_several_refinements_and_a_reset(packed):
    a, params, optimizers = _training()
    strategy = DefaultStrategy(
        refine_start_iter=2, refine_every=5, grow_grad2d=1e-5, reset_every=20, refine_scale2d_stop_iter=40,
        grow_scale2d=0.4, prune_scale2d=0.9,
    )  # fmt: skip
    counts, brightest = {}, {}

    def after(step):
        counts[step] = len(params["means"])
        brightest[step] = float(params["opacities"].detach().sigmoid().max())

    state = _train(strategy, a, params, optimizers, range(1, 32), packed=packed, after=after)
    assert counts[4] == 60 < counts[5] < counts[10]
    assert brightest[19] > 0.5 and brightest[20] <= 2 * strategy.prune_opa + 1e-6
    assert state["radii"].shape == (counts[31],)


@pytest.mark.parametrize("packed", [False, True])
def test_mcmc_strategy_relocates_the_dead_and_grows_to_its_cap(packed):
    opacities = torch.full((60,), 0.5)
    opacities[:15] = 0.001
    a, params, optimizers = _training(changed={"opacities": torch.logit(opacities)})
    strategy = MCMCStrategy(cap_max=70, refine_start_iter=2, refine_every=5, min_opacity=0.005)
    counts, labels = {}, {}

    def after(step):
        counts[step], labels[step] = len(params["means"]), _labels(params)

    _train(strategy, a, params, optimizers, range(1, 27), packed=packed, after=after)
    assert [counts[s] for s in (4, 5, 10, 15, 20, 25)] == [60, 63, 66, 69, 70, 70]  # 5 % a time, to the cap
    assert torch.equal(labels[4], torch.arange(60))
    assert (labels[5][:15] >= 15).all()  # the dead lie on living ones
    assert torch.equal(labels[5][15:60], torch.arange(15, 60))
    assert (params["opacities"].sigmoid() >= 0.004).all()


def test_relocation_keeps_the_light_along_a_line():
    """Equation 9 keeps the integral of alpha over a line through the centre, and the light let through."""
    a, params, optimizers = _training(n=3)
    with torch.no_grad():
        params["opacities"].copy_(torch.logit(torch.tensor([0.8, 0.001, 0.001])))
        params["scales"].fill_(math.log(0.08))
        params["means"].zero_()
    size, focal = 61, 80.0
    K = torch.tensor([[[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]])

    @torch.no_grad()
    def middle_row():
        _, alphas, _ = rasterize(
            params["means"], params["quats"], params["scales"].exp(), params["opacities"].sigmoid(),
            params["colors"], torch.eye(4)[None], K, size, size, near_plane=-1.0, camera_model="ortho",
            eps2d=0.0,
        )  # fmt: skip
        return alphas[0, size // 2, :, 0]

    before = middle_row()
    relocate(params, optimizers, torch.tensor([False, True, True]), _binoms())
    after = middle_row()
    assert torch.equal(params["opacities"], params["opacities"][:1].expand(3))
    torch.testing.assert_close(after.max(), before.max(), rtol=1e-3, atol=0)
    torch.testing.assert_close(after.sum(), before.sum(), rtol=1e-2, atol=0)
    assert float(params["scales"].detach().exp()[0, 0]) < 0.08


def test_relocation_with_nothing_dead_or_nothing_alive_does_nothing():
    _, params, optimizers = _training(n=5)
    before = {k: v.detach().clone() for k, v in params.items()}
    for dead in (torch.zeros(5), torch.ones(5)):
        relocate(params, optimizers, dead.bool(), _binoms())
    assert all(torch.equal(params[k], before[k]) for k in before)


def test_moments_follow_relocation_and_addition():
    a, params, optimizers = _training(n=8)
    for name, p in params.items():
        p.grad = torch.ones_like(p)
        optimizers[name].step()
    dead = torch.tensor([True] + [False] * 7)
    relocate(params, optimizers, dead, _binoms())
    chosen = int(_labels(params)[0])
    for name, p in params.items():
        moments = optimizers[name].state[p]
        untouched = [i for i in range(1, 8) if i != chosen]
        assert not moments["exp_avg"][chosen].any() and moments["exp_avg"][untouched].all(), name
        assert float(moments["step"]) == 1
    sample_add(params, optimizers, 4, _binoms())
    for name, p in params.items():
        moments = optimizers[name].state[p]
        assert len(p) == 12 and not moments["exp_avg_sq"][8:].any() and moments["exp_avg_sq"][1:8].any(), name
    assert torch.equal(params["means"][8:], params["means"][_labels(params)[8:]])


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
