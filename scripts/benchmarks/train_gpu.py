"""Train every registered method of ours for some steps on the GPU and record speed, memory and quality."""

from __future__ import annotations

import copy
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Args:
    """What to train, for how long, and where the record goes."""

    steps: int = 2000
    """training steps per method"""
    data: Path = ROOT / "scripts/scenes/fan-and-ball"
    """scene"""
    output: Path = ROOT / "docs/benchmarks/gpu.json"
    """record to write"""


def measure(name: str, args: Args) -> dict[str, Any]:
    """Train one method and evaluate it."""
    config = copy.deepcopy(all_methods[name])
    assert isinstance(config, DynamicTrainerConfig)
    config.pipeline.datamanager.data = args.data
    config.output_dir, config.timestamp, config.vis = ROOT / "outputs/gpu_check", "gpu_check", "tensorboard"
    config.max_num_iterations = args.steps
    random.seed(config.machine.seed)
    np.random.seed(config.machine.seed)  # noqa: NPY002
    torch.manual_seed(config.machine.seed)
    trainer: DynamicTrainer = config.setup(local_rank=0, world_size=1)
    config.save_config()
    trainer.setup()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    trainer.train()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    memory = torch.cuda.max_memory_allocated() / 1e6
    _, pipeline, _, _ = eval_setup(config.get_base_dir() / "config.yml")
    metrics = pipeline.get_average_eval_image_metrics(step=args.steps)
    return {
        "steps_per_second": args.steps / seconds,
        "seconds": seconds,
        "peak_memory_mb": memory,
        **{key: value for key, value in metrics.items() if isinstance(value, int | float)},
    }


def main(args: Args) -> None:
    """Measure every method and write the record."""
    ours = sorted(name for name, config in all_methods.items() if isinstance(config, DynamicTrainerConfig))
    record = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "scene": args.data.name,
        "steps": args.steps,
        "methods": {name: measure(name, args) for name in ours},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main(tyro.cli(Args))
