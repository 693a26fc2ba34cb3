"""gsplat's densification strategies on any device, for parameter dicts with extra entries per Gaussian.

gsplat relocates Gaussians (MCMC) with CUDA kernels only. Here the same formulas are torch, so that
`DefaultStrategy` and `MCMCStrategy` run on the CPU too; every entry of the parameter dict and its optimizer
state is resized together, whatever it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
