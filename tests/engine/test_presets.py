"""What a preset sets for each parameter group."""

from __future__ import annotations

from typing import Any

import pytest

from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.velocity import Dyn3DVelocityModelConfig


def made(**options: Any) -> dict[str, Any]:
    """Return the optimizers of a preset with two parameter groups."""
    rates = {"means": 1e-3, "scales": 1e-2}
    return preset("m", "A method.", 100, Dyn3DVelocityModelConfig(), rates, **options).config.optimizers


def test_rates_end_alike_but_where_a_group_says_otherwise() -> None:
    optimizers = made(final=0.01, finals={"scales": 0.5})
    assert {name: group["scheduler"].final for name, group in optimizers.items()} == {
        "camera_opt": 0.01,
        "means": 0.01,
        "scales": 0.5,
    }
    assert optimizers["scales"]["optimizer"].lr == 1e-2


def test_an_end_of_no_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="no learning rate is set for opacites"):
        made(finals={"opacites": 0.5})
