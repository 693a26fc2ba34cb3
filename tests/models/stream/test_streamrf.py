"""``dyn3d-streamrf`` on a small recording: what plays is what was trained, and a resume changes no byte."""

from __future__ import annotations

import copy
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image
from run_training import run_training

from dyn3d_ns.engine.method import NoGaussiansError
from dyn3d_ns.engine.trainer import DynamicTrainer, DynamicTrainerConfig
from dyn3d_ns.fields.voxel_stream import decoder_of
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.method_configs.dyn3d_streamrf import dyn3d_streamrf_fast
from dyn3d_ns.models.stream.grid import StreamRFModel
from dyn3d_ns.models.stream.grid_fit import changed_pixels

WIDTH, HEIGHT, FOCAL, FRAMES = 40, 30, 36.0, 4


def picture(place: np.ndarray, frame: int) -> np.ndarray:
    """Draw a square that moves to the right at depth 2 before a wall at depth 4."""
    y, x = np.meshgrid(np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5, indexing="ij")
    slopes = np.stack([(x - WIDTH / 2) / FOCAL, (y - HEIGHT / 2) / FOCAL], -1)
    wall, front = place[:2] + 4 * slopes, place[:2] + 2 * slopes
    waves = np.sin(3 * wall[..., :1] + np.arange(3)) * np.cos(2 * wall[..., 1:])
    square = (np.abs(front - [-0.4 + 0.2 * frame, 0.0]) < 0.3).all(-1)
    color = np.where(square[..., None], [0.9, 0.2, 0.1], 0.5 + 0.4 * waves)
    return np.rint(255 * color).astype(np.uint8)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five cameras side by side, in QUEEN's layout."""
    root, rows = tmp_path_factory.mktemp("recording"), []
    for camera in range(5):
        place = np.array([0.0 if camera == 0 else 0.5 * camera - 1.25, 0.1 * (camera % 2), 0.0])
        folder = root / f"cam{camera:02d}" / "images"
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            Image.fromarray(picture(place, frame)).save(folder / f"{frame:04d}.png")
        # Columns down, right, backwards, place, and height, width, focal length; the cameras look along +z.
        columns = [[0, 1, 0], [1, 0, 0], [0, 0, -1], place, [HEIGHT, WIDTH, FOCAL]]
        rows.append([*np.stack(columns, 1).ravel(), 1.8, 4.5])
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def config_of(recording: Path, output: Path) -> DynamicTrainerConfig:
    config = copy.deepcopy(dyn3d_streamrf_fast.config)
    assert isinstance(config, DynamicTrainerConfig)
    config.output_dir, config.experiment_name, config.timestamp = output, "tiny", "run"
    config.vis, config.data = "tensorboard", recording
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.data = recording
    manager.dataparser.cache_dir = output / "cache"
    model.stream.first_steps, model.stream.keyframe_every = 30, 2
    model.reso, model.surface_points, model.batch_size = ((20, 16, 12), (40, 32, 24)), 0, 256
    model.pilot.n_iters, model.full.n_iters = 6, 8
    model.pilot.batch_size = model.full.batch_size = 256
    for group in ("density", "sh"):
        config.optimizers[group]["scheduler"].max_steps = 30
    config.optimizers["density"]["optimizer"].lr = 5.0
    return config


def train(config: DynamicTrainerConfig) -> DynamicTrainer:
    config.save_config()
    return run_training(config)


@pytest.fixture(scope="module")
def trained(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> DynamicTrainer:
    return train(config_of(recording, tmp_path_factory.mktemp("out")))


def model_of(trainer: DynamicTrainer) -> StreamRFModel:
    assert isinstance(trainer.method, StreamRFModel)
    return trainer.method


def test_what_plays_is_what_the_encoder_goes_on_from(trained: DynamicTrainer) -> None:
    model = model_of(trained)
    assert model.run is not None and model.state is not None
    reader = StreamReader(model.run.folder)
    assert reader.num_frames() == FRAMES and reader.keyframes() == [2]
    decoder, state = decoder_of(reader.header), decoder_of(reader.header).start(reader.init())
    assert model.space.is_ndc and np.array_equal(state.values, model._initial.values)
    for frame in range(1, FRAMES):
        changed = reader.delta(frame)
        assert changed["changed"].any() or changed["added"].any() or changed["removed"].any()
        state = decoder.advance(state, changed)
        jumped = decoder.jump(decoder.start(reader.init()), reader.key(frame)) if frame == 2 else state
        assert np.array_equal(jumped.index, state.index) and np.array_equal(jumped.values, state.values)
    assert np.array_equal(state.index, model.state.index)
    assert np.array_equal(state.values, model.state.values)


def test_a_loaded_training_shows_the_same_frames(trained: DynamicTrainer) -> None:
    _, pipeline, _, _ = eval_setup(trained.base_dir / "config.yml", test_mode="test")
    model = model_of(trained).eval()
    for frame in (3, 0, 2):
        camera, batch = pipeline.datamanager.fixed_indices_eval_dataloader[frame]
        ours, theirs = model.get_outputs_for_camera(camera), pipeline.model.get_outputs_for_camera(camera)
        for name, channels in (("rgb", 3), ("depth", 1), ("accumulation", 1)):
            assert ours[name].shape == (HEIGHT, WIDTH, channels)
            assert torch.equal(ours[name], theirs[name]) and bool(torch.isfinite(ours[name]).all())
        truth = batch["image"].float() / 255
        assert (ours["rgb"] - truth).square().mean() < 0.5 * (truth - truth.mean((0, 1))).square().mean()
    with pytest.raises(NoGaussiansError):
        model.gaussians_at(0.5)


def test_a_resumed_training_writes_the_same_bytes(
    trained: DynamicTrainer, recording: Path, tmp_path: Path
) -> None:
    earlier = Path(shutil.copytree(trained.base_dir, tmp_path / "earlier"))
    (earlier / "stream/000003.delta").unlink()
    (earlier / "encoder/000003.npz").unlink()
    config = config_of(recording, tmp_path / "out")
    config.load_dir = earlier / "nerfstudio_models"
    again = train(config).base_dir
    for path in sorted((trained.base_dir / "stream").iterdir()):
        assert (again / "stream" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("at_step", [8, 22, 40])
def test_a_training_stopped_anywhere_goes_on_to_the_same_bytes(
    trained: DynamicTrainer, recording: Path, tmp_path: Path, at_step: int
) -> None:
    """Before and after frame 0's grid is made finer, and within a later frame."""
    stopped, resumed = config_of(recording, tmp_path / "stopped"), config_of(recording, tmp_path / "resumed")
    with pytest.raises(SystemExit):
        run_training(stopped, at_step, lambda: signal.raise_signal(signal.SIGTERM))
    resumed.load_dir = stopped.get_checkpoint_dir()
    again = train(resumed).base_dir
    for path in sorted((trained.base_dir / "stream").iterdir()):
        assert (again / "stream" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_frame_that_is_held_changes_nothing(trained: DynamicTrainer) -> None:
    model = model_of(trained)
    before = model.state
    model.begin_frame(None)
    for stage in ("pilot", "full"):
        model.enter_stage(stage)
        assert model.get_loss_dict(model.get_outputs(None), {})["image"] == 0  # type: ignore[arg-type]
    planes = model.end_frame()
    assert not any(planes[name].any() for name in ("removed", "added", "changed"))
    assert before is not None and model.state is not None
    assert np.array_equal(model.state.values, before.values)


def test_changes_are_told_from_noise() -> None:
    random = np.random.default_rng(0)
    before = torch.from_numpy(random.integers(90, 110, (2, 40, 40, 3)).astype(np.uint8))
    now = torch.from_numpy(random.integers(90, 110, (2, 40, 40, 3)).astype(np.uint8))
    now[1, 10:14, 20:24] = 250
    mask = changed_pixels(now, before)
    assert not bool(mask[0].any()) and torch.equal(mask[1].nonzero().amin(0), torch.tensor([7, 17]))
    assert torch.equal(mask[1].nonzero().amax(0), torch.tensor([16, 26]))
