"""gsplat's densification strategies on any device, for parameter dicts with extra entries per Gaussian.

gsplat relocates Gaussians (MCMC) with CUDA kernels only. Here the same formulas are torch, so that
`DefaultStrategy` and `MCMCStrategy` run on the CPU too; every entry of the parameter dict and its optimizer
state is resized together, whatever it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from gsplat.strategy import DefaultStrategy as _GsplatDefault
from gsplat.strategy import MCMCStrategy as _GsplatMCMC
from jaxtyping import Bool, Float, Int
from torch import Tensor

Parameters = dict[str, torch.nn.Parameter] | torch.nn.ParameterDict
Optimizers = dict[str, torch.optim.Optimizer]


@torch.no_grad()
def compute_relocation(
    opacities: Float[Tensor, " N"],
    scales: Float[Tensor, "N 3"],
    ratios: Int[Tensor, " N"],
    binoms: Float[Tensor, "K K"],
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"]]:
    """Return opacities and scales of Gaussians that are replaced by `ratios` copies of themselves each.

    Equation 9 of 3D Gaussian Splatting as Markov Chain Monte Carlo (https://arxiv.org/abs/2404.09591);
    `ratios` are clamped to 1 … K, `binoms[n, k]` are binomial coefficients. Opacities must be in (0, 1).
    """
    largest = binoms.shape[0]
    copies = ratios.clamp(1, largest).long()
    old = opacities.double()
    new = 1.0 - (1.0 - old) ** (1.0 / copies)
    k = torch.arange(largest, device=opacities.device)
    # sum over i = 1 … copies of binom(i - 1, k), by k: row `copies` of the running sum over i
    summed = torch.cumsum(binoms.double(), dim=0)[copies - 1]
    signs = torch.where(k % 2 == 0, 1.0, -1.0).double() / (k + 1).double().sqrt()
    # the terms alternate and grow up to 1e14 for 51 copies: float64 keeps what float32 would lose
    denominator = (summed * signs * new[:, None] ** (k + 1)).sum(dim=1)
    return new.to(opacities.dtype), (scales.double() * (old / denominator)[:, None]).to(scales.dtype)


def _replace(
    parameters: Parameters,
    optimizers: Optimizers,
    value: Callable[[str, Tensor], Tensor],
    state_value: Callable[[Tensor], Tensor],
) -> None:
    """Put new tensors into the dict, the optimizers and their moments."""
    for name in list(parameters.keys()):
        group = optimizers[name].param_groups[0]
        old = group["params"][0]
        new = torch.nn.Parameter(value(name, old.detach()), requires_grad=old.requires_grad)
        state = optimizers[name].state.pop(old, {})
        for key, moment in state.items():
            if isinstance(moment, Tensor) and moment.dim() and moment.shape[0] == old.shape[0]:
                state[key] = state_value(moment)
        group["params"] = [new]
        if state:
            optimizers[name].state[new] = state
        parameters[name] = new


def _moved(parameters: Parameters, chosen: Tensor, binoms: Tensor, min_opacity: float) -> dict[str, Tensor]:
    """Return opacity logits and log scales of the chosen Gaussians after the copies share their light."""
    logits = parameters["opacities"].detach()[chosen]
    new_opacities, new_scales = compute_relocation(
        torch.sigmoid(logits).flatten(),
        torch.exp(parameters["scales"].detach()[chosen]),
        torch.bincount(chosen)[chosen] + 1,
        binoms,
    )
    new_opacities = new_opacities.clamp(min_opacity, 1.0 - torch.finfo(torch.float32).eps)
    return {"opacities": torch.logit(new_opacities).view_as(logits), "scales": torch.log(new_scales)}


def _sample(weights: Tensor, count: int) -> Tensor:
    """Draw indices with replacement in proportion to the weights, also beyond torch's limit of 2**24."""
    if len(weights) <= 2**24:
        return torch.multinomial(weights, count, replacement=True)
    total = torch.cumsum(weights.double(), dim=0)
    draws = torch.rand(count, dtype=torch.float64, device=weights.device) * total[-1]
    return torch.searchsorted(total, draws).clamp_max(len(weights) - 1)


@torch.no_grad()
def relocate(
    parameters: Parameters,
    optimizers: Optimizers,
    dead: Bool[Tensor, " N"],
    binoms: Tensor,
    min_opacity: float = 0.005,
) -> None:
    """Move dead Gaussians onto living ones, drawn by opacity; the copies together look like the original."""
    gone, alive = dead.nonzero()[:, 0], (~dead).nonzero()[:, 0]
    if len(gone) == 0 or len(alive) == 0:
        return
    opacities = torch.sigmoid(parameters["opacities"].detach().flatten())
    chosen = alive[_sample(opacities[alive], len(gone))]
    moved = _moved(parameters, chosen, binoms, min_opacity)

    def value(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        if name in moved:
            tensor[chosen] = moved[name]
        tensor[gone] = tensor[chosen]
        return tensor

    def state_value(moment: Tensor) -> Tensor:
        moment[chosen] = 0
        return moment

    _replace(parameters, optimizers, value, state_value)


@torch.no_grad()
def sample_add(
    parameters: Parameters, optimizers: Optimizers, count: int, binoms: Tensor, min_opacity: float = 0.005
) -> None:
    """Add `count` Gaussians as copies of existing ones, drawn by opacity."""
    chosen = _sample(torch.sigmoid(parameters["opacities"].detach().flatten()), count)
    moved = _moved(parameters, chosen, binoms, min_opacity)

    def value(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        if name in moved:
            tensor[chosen] = moved[name]
        return torch.cat([tensor, tensor[chosen]])

    _replace(parameters, optimizers, value, lambda m: torch.cat([m, m.new_zeros(count, *m.shape[1:])]))


@dataclass
class DefaultStrategy(_GsplatDefault):
    """Densify as the 3DGS paper does: gsplat's `DefaultStrategy`, which needs CUDA nowhere."""


@dataclass
class MCMCStrategy(_GsplatMCMC):
    """Densify by Markov chain Monte Carlo: gsplat's `MCMCStrategy` on any device, without its noise."""

    noise_lr: float = field(default=0.0, init=False)
    """Nothing: means are not shaken, since that would undo the motion that the field follows."""

    @torch.no_grad()
    def step_post_backward(
        self,
        params: Parameters,
        optimizers: Optimizers,
        state: dict[str, Any],
        step: int,
        info: dict[str, Any],
        lr: float,
    ) -> None:
        """Relocate and add Gaussians every `refine_every` steps; `info` and `lr` are not read."""
        binoms = state["binoms"] = state["binoms"].to(params["means"].device)
        if self.refine_start_iter < step < self.refine_stop_iter and step % self.refine_every == 0:
            dead = torch.sigmoid(params["opacities"].flatten()) <= self.min_opacity
            relocate(params, optimizers, dead, binoms, self.min_opacity)
            count = len(params["means"])
            missing = min(self.cap_max, int(1.05 * count)) - count
            if missing > 0:
                sample_add(params, optimizers, missing, binoms, self.min_opacity)
            if self.verbose:
                print(f"Step {step}: {int(dead.sum())} relocated, {max(0, missing)} added.")


class Densifier:
    """Runs one of the strategies over a training, with a schedule that follows the training's length.

    Refinement goes from a tenth to seven tenths of the steps. ``state`` is what the strategy remembers
    between steps.
    """

    def __init__(
        self,
        kind: Literal["mcmc", "default", "none"],
        params: Parameters,
        optimizers: Optimizers,
        steps: int,
        cap: int,
        scene_scale: float,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Set a strategy up.

        Args:
            kind: ``mcmc`` relocates dead Gaussians and grows to ``cap``; ``default`` splits, clones and
                prunes by image-plane gradient; ``none`` leaves them as they are.
            params: Per-Gaussian tensors, replaced in place when their number changes.
            optimizers: Their optimizers, by the same names.
            steps: Steps of the training.
            cap: Most Gaussians of ``mcmc``.
            scene_scale: World units; what ``default`` measures sizes by.
            state: What a training that goes on remembers.
        """
        self.params, self.optimizers, self.info = params, optimizers, {}
        self.strategy = self.make_strategy(kind, steps, cap)
        self.state: dict[str, Any] = {}
        if isinstance(self.strategy, DefaultStrategy):
            self.state = self.strategy.initialize_state(scene_scale=scene_scale)
        elif self.strategy is not None:
            self.state = self.strategy.initialize_state()
        self.state.update(state or {})

    @staticmethod
    def make_strategy(
        kind: Literal["mcmc", "default", "none"], steps: int, cap: int
    ) -> DefaultStrategy | MCMCStrategy | None:
        """Make the strategy itself."""
        start, stop = steps // 10, 7 * steps // 10
        if kind == "mcmc":
            return MCMCStrategy(cap_max=cap, refine_start_iter=start, refine_stop_iter=stop, min_opacity=0.01)
        if kind == "default":
            return DefaultStrategy(refine_start_iter=start, refine_stop_iter=stop, reset_every=10 * steps)
        return None

    def before_backward(self, step: int, info: dict[str, Any]) -> None:
        """Let the strategy see a rasterisation whose image-plane gradients it needs.

        It waits while there are none, as in a phase in which only colours are trained.
        """
        if isinstance(self.strategy, DefaultStrategy):
            self.info = info if info[self.strategy.key_for_gradient].requires_grad else {}
            if not self.info:
                return
            self.strategy.step_pre_backward(self.params, self.optimizers, self.state, step, info)

    def after_step(self, step: int) -> None:
        """Move, add and drop Gaussians after the optimizers' step, where it is time to."""
        arguments = (self.params, self.optimizers, self.state, step)
        if isinstance(self.strategy, DefaultStrategy):
            if self.info:
                self.strategy.step_post_backward(*arguments, info=self.info, packed=False)
        elif self.strategy is not None:
            self.strategy.step_post_backward(*arguments, info={}, lr=0.0)

    def get_state(self) -> dict[str, Any]:
        """Return what the strategy remembers, as tensors and numbers, for an exact resume."""
        return {k: v for k, v in self.state.items() if isinstance(v, Tensor | float | int)}
