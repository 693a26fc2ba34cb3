"""The trainer's defaults and what it says."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from dyn3d_ns.engine.device import available_cores, default_device_type, use_cpu_threads
from dyn3d_ns.engine.trainer import DynamicTrainerConfig

OURS = [name for name, config in all_methods.items() if isinstance(config, DynamicTrainerConfig)]


@pytest.mark.parametrize("name", OURS)
def test_defaults_fit_the_machine(name: str) -> None:
    config = all_methods[name]
    assert config.machine.device_type == default_device_type()
    assert config.viewer.websocket_host == "127.0.0.1"
    assert config.vis == "viewer"
    assert not config.mixed_precision


def test_threads_go_to_the_rasteriser() -> None:
    from dyn3d_ns.rendering.pool import get_num_threads

    before = torch.get_num_threads()
    try:
        use_cpu_threads()
        assert torch.get_num_threads() == 1
        assert get_num_threads() == available_cores()
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_method_is_recommended_once(training, capsys) -> None:
    config = training.config("advice", max_num_iterations=1)
    config.cpu_alternative = "dyn3d-velocity-fast, about 5 minutes"
    config.machine.device_type = "cuda"
    trainer = training.run(config)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("On this CPU take dyn3d-velocity-fast, about 5 minutes") == 1
    assert "torch finds no GPU here: using the CPU" in said
    assert trainer.device == "cpu"


def test_the_end_names_the_next_commands(training, capsys) -> None:
    training.run(training.config("end", max_num_iterations=1))
    said = capsys.readouterr().out
    assert "ns-viewer --load-config" in said and "ns-eval --load-config" in said
