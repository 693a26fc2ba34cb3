"""The trainer's defaults and what it says."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from dyn3d_ns.engine import forecast
from dyn3d_ns.engine.checkpoint import load_checkpoint, rng_state
from dyn3d_ns.engine.device import available_cores, default_device_type, use_cpu_threads
from dyn3d_ns.engine.forecast import forecast_seconds, in_words
from dyn3d_ns.engine.pipeline import DynamicPipeline
from dyn3d_ns.engine.trainer import DynamicTrainerConfig

OURS = [name for name, config in all_methods.items() if isinstance(config, DynamicTrainerConfig)]


@pytest.mark.parametrize("name", OURS)
def test_defaults_fit_the_machine(name: str) -> None:
    config = all_methods[name]
    assert config.machine.device_type == default_device_type()
    assert config.viewer.websocket_host == "127.0.0.1"
    assert config.vis == "viewer"
    assert not config.mixed_precision


def test_ctrl_c_while_a_training_is_set_up_is_no_crash_and_no_success(training, monkeypatch, capsys) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DynamicPipeline, "start", press)
    with pytest.raises(SystemExit) as ended:
        training.run(training.config("pressed"))
    assert ended.value.code == 130
    assert "Stopped before the first step" in capsys.readouterr().out


def test_a_training_whose_end_fails_is_saved_first(training, monkeypatch, capsys) -> None:
    def fail(_: object) -> None:
        raise ArithmeticError("a fit that has no answer")

    monkeypatch.setattr(all_methods["dyn3d-velocity-fast"].pipeline.model._target, "finish", fail)
    config = training.config("fails-at-its-end", max_num_iterations=3)
    with pytest.raises(ArithmeticError, match="no answer"):
        training.run(config)
    saved = list((config.get_base_dir() / "nerfstudio_models").glob("*.ckpt"))
    assert [load_checkpoint(path)["step"] for path in saved] == [2]
    assert "All steps are trained and saved" in " ".join(capsys.readouterr().out.split())


def test_threads_go_to_the_rasteriser() -> None:
    from dyn3d_ns.kernels.pool import get_num_threads

    before = torch.get_num_threads()
    try:
        use_cpu_threads()
        assert torch.get_num_threads() == 1
        assert get_num_threads() == available_cores()
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="what is said without a GPU; CUDA_VISIBLE_DEVICES= hides it"
)
def test_without_a_gpu_the_cpu_method_and_its_time_are_named(
    training, unbroken, checkpoint_differences, capsys
) -> None:
    config = training.config("advice")
    config.cpu_alternative = "dyn3d-velocity-fast"
    config.machine.device_type = "cuda"
    trainer = training.run(config)
    said = " ".join(capsys.readouterr().out.split())
    assert "torch finds no GPU here: using the CPU" in said
    steps = all_methods["dyn3d-velocity-fast"].max_num_iterations
    pattern = rf"dyn3d-velocity-fast takes about (\d+) (?:second|minute)s here for this scene \({steps} steps"
    found = re.findall(pattern, said)
    assert len(found) == 1 and int(found[0]) > 0, said
    assert str(training.scene) in said.replace(" ", "")  # the console breaks long lines
    assert trainer.device == "cpu"
    # Timing the steps changes neither the order of images nor any random number of the training itself.
    checkpoint = trainer.checkpoint_dir / unbroken.name
    assert checkpoint_differences(load_checkpoint(unbroken), load_checkpoint(checkpoint)) == []


def test_a_forecast_counts_all_steps_and_leaves_no_trace(
    training, checkpoint_differences, monkeypatch
) -> None:
    """On a clock on which every step takes half a second; images and random numbers come as without it."""
    config = training.config("forecast", max_num_iterations=200)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    datamanager = trainer.pipeline.datamanager
    generators, images = rng_state(), datamanager.get_state()
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    steps: list[int] = []
    next_train = datamanager.next_train
    monkeypatch.setattr(datamanager, "next_train", lambda step: steps.append(step) or next_train(step))
    assert forecast_seconds(config, datamanager) == pytest.approx(100)
    assert steps == [step for step in (20, 40, 80, 120, 160) for _ in range(4)], "one warms up, three count"
    assert checkpoint_differences((generators, images), (rng_state(), datamanager.get_state())) == []


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 seconds"), (300, "5 minutes"), (9000, "2.5 hours")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_training_too_short_for_a_line_of_its_own_ends_well(training, unbroken) -> None:
    config = training.config("few-more", max_num_iterations=26, load_dir=unbroken.parent)
    config.logging.local_writer.enable = True
    trainer = training.run(config)
    assert (trainer.checkpoint_dir / "step-000000025.ckpt").is_file()


def test_the_end_names_the_next_commands(training, capsys) -> None:
    training.run(training.config("end", max_num_iterations=1))
    said = capsys.readouterr().out
    assert "ns-viewer --load-config" in said and "ns-eval --load-config" in said
