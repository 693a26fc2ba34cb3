"""Train a method for some steps and write its parameters, to see whether a change of the code changes them.

    python scripts/same_training.py dyn3d-velocity-fast before.pt                     # in the one checkout
    python scripts/same_training.py dyn3d-velocity-fast after.pt --compare before.pt  # in the changed one

Floating-point results depend on processor and versions: compare files of one machine and environment.
"""

from __future__ import annotations

import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

FAN_AND_BALL = Path(__file__).parent / "scenes" / "fan-and-ball"


@dataclass
class Args:
    """What to train."""

    method: Annotated[str, tyro.conf.Positional]
    """method as ns-train lists it"""
    output: Annotated[Path, tyro.conf.Positional]
    """file to write"""
    data: Path = FAN_AND_BALL
    """scene"""
    steps: int = 24
    """steps of the whole training"""
    compare: Path | None = None
    """file of another checkout; the exit status is 1 where parameters or buffers differ in a bit"""


def train(args: Args) -> dict[str, torch.Tensor]:
    """Return parameters and buffers after a training with a fixed seed."""
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion  # noqa: PLC0415 (seconds to import)

    with tempfile.TemporaryDirectory() as folder:
        words = [args.method, "--data", str(args.data), "--output-dir", folder, "--vis", "tensorboard"]
        words += ["--max-num-iterations", str(args.steps)]
        config: Any = tyro.cli(AnnotatedBaseConfigUnion, args=words)  # type: ignore[arg-type]
        config.set_timestamp()
        config.pipeline.datamanager.data = config.data
        random.seed(42)
        np.random.seed(42)  # noqa: NPY002
        torch.manual_seed(42)
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.train()
    return {name: value.detach().clone() for name, value in trainer.pipeline.model.state_dict().items()}


def main(args: Args) -> None:
    """Train, write, and compare if asked to."""
    found = train(args)
    torch.save(found, args.output)
    if args.compare is None:
        return
    before = torch.load(args.compare, weights_only=True)
    other = sorted(before.keys() ^ found.keys())
    other += [n for n in before.keys() & found.keys() if not torch.equal(before[n], found[n])]
    print(f"different: {', '.join(other)}" if other else f"all {len(found)} tensors are the same, bit by bit")
    sys.exit(bool(other))


if __name__ == "__main__":
    main(tyro.cli(Args))
