"""A clip of textured cards, one of which moves, and a short training on it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from dyn3d_ns.engine.trainer import DynamicTrainer
from tests.models.test_methods import small_config, train
from tests.video.cards import PILLAR, WALL, Card, CardClip

FRAMES = 16
STEPS = 300
WALKER = Card((-1.2, 0.2, 4), (0.9, 1.4), (0.16, 0, 0), label=1, seed=2)
"""Walks past in front of the wall, so that what is behind it is seen at other times."""


class Clip(NamedTuple):
    """A clip on disk, as recorded and as it were without what moves."""

    root: Path
    recorded: CardClip
    clean: CardClip


@pytest.fixture(scope="session")
def card_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Return a clip with true cameras, depth and masks."""
    recorded = CardClip((WALL, PILLAR, WALKER), FRAMES)
    root = recorded.write(tmp_path_factory.mktemp("video") / "cards").root
    return Clip(root, recorded, CardClip((WALL, PILLAR), FRAMES))


def train_on(clip: Path, output: Path, method: str = "dyn3d-das3r-fast", steps: int = STEPS, **model):
    config = small_config(method, clip, output, steps)
    config.pipeline.model.max_gaussians = 4000
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    return train(config)


@pytest.fixture(scope="session")
def trained(card_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> DynamicTrainer:
    """Return a short training with everything at its default."""
    return train_on(card_clip.root, tmp_path_factory.mktemp("das3r"))
