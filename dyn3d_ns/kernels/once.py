"""Backward passes that cannot be differentiated again, for the steps whose derivatives are kernels."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def once(backward: Callable) -> Callable:
    """Mark a backward pass as torch's `once_differentiable` does; unless it is asked for a graph, at no cost.

    Torch enters and leaves `no_grad` around each, which takes as long as a small kernel.
    """
    guarded = once_differentiable(backward)

    @functools.wraps(backward)
    def run(ctx: Any, *grads: Any) -> Any:
        return guarded(ctx, *grads) if torch.is_grad_enabled() else backward(ctx, *grads)

    return run
