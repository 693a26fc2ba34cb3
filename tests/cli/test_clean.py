"""`dyn3d clean` on a clip of cards whose truth is known, from the command line to the decoded video."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.cli import das3r
from dyn3d_ns.cli.clean import check_kept, constant_rate, recorded_images
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.main import main
from dyn3d_ns.cli.process import Process
from dyn3d_ns.dataparsers.video import VideoDataParserConfig
from dyn3d_ns.io.footage.clip import ClipFootage
from dyn3d_ns.video.frames.decode import Source
from tests.footage_files import write_sintel
from tests.video.cards import MOVER, PILLAR, WALL, Card, CardClip
from tests.video.clips import write_video

# It leaves its place within the clip, so that what is behind is seen.
FAST = Card((0.3, -0.3, 4), (0.8, 0.8), (0.09, 0.06, 0), label=1, seed=2)
STEPS = 60


@pytest.fixture(scope="module")
def cards() -> CardClip:
    return CardClip((WALL, PILLAR, FAST), frames=10, width=64, height=48)


@pytest.fixture(scope="module")
def clip(cards: CardClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "cards"
    cards.write(folder, "frames cameras depth masks")
    return folder


@pytest.fixture(scope="module")
def cleaned(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the video that the command has written of a processed clip."""
    out = tmp_path_factory.mktemp("out") / "clean.mp4"
    assert main(["clean", str(clip), str(out), "--method", "dyn3d-das3r-fast", "--steps", str(STEPS)]) == 0
    return out


def config_of(out: Path) -> Path:
    (config,) = out.parent.glob(f"{out.stem}_training/*/*/config.yml")
    return config


def frames_of(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in Source(path).frames()]


def brightness(images: list[np.ndarray]) -> np.ndarray:
    """Return what a video keeps at full size; colours are stored at the half of it."""
    return np.stack(images) @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.slow
def test_a_clip_becomes_a_video_without_its_mover(cleaned: Path, cards: CardClip) -> None:
    frames, masks = frames_of(cleaned), frames_of(cleaned.with_name("clean_mask.mp4"))
    assert [f.shape for f in frames] == [m.shape for m in masks] == [(48, 64, 3)] * 10
    assert next(iter(Source(cleaned).frames())).seconds == 0
    moves = np.stack(cards.labels) > 0
    truth = brightness(CardClip((WALL, PILLAR), frames=10, width=64, height=48).images)
    before, after = (np.abs(brightness(shown) - truth) for shown in (cards.images, frames))
    assert after[moves].mean() < 0.45 * before[moves].mean() and after[~moves].mean() < 6
    assert {p.name for p in cleaned.parent.iterdir()} == {"clean.mp4", "clean_mask.mp4", "clean_training"}


@pytest.mark.slow
def test_all_frames_but_one_train(cleaned: Path) -> None:
    scene = das3r.load_scene(config_of(cleaned))
    assert len(scene.model.views.times) == 9 and scene.step == STEPS


def reads(clip: Path) -> VideoDataParserConfig:
    return VideoDataParserConfig(data=clip)


@pytest.mark.slow
def test_a_second_run_trains_nothing(
    cleaned: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cleaned.parent / "clean_training", tmp_path / "clean_training")
    monkeypatch.setattr("nerfstudio.scripts.train.train_loop", lambda *_: pytest.fail("it trained again"))
    config = das3r.train(reads(clip), cleaned.parent / "clean_training", "dyn3d-das3r-fast", STEPS, 0)
    assert config == config_of(cleaned)


@pytest.mark.slow
def test_other_frames_or_steps_are_another_training(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nerfstudio.scripts.train.train_loop", lambda *_: None)
    other = tmp_path / "other"
    CardClip((WALL, PILLAR, MOVER), frames=10, width=64, height=48).write(other, "frames cameras depth masks")
    made = {
        das3r.train(reads(data), tmp_path / "t", "dyn3d-das3r-fast", steps, 0)
        for data, steps in ((clip, 5), (clip, 6), (other, 5), (clip, 5))
    }
    assert len(made) == 3


@pytest.mark.slow
def test_a_stopped_training_goes_on(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("nerfstudio.scripts.train.train_loop", lambda *args: loaded.append(args[2].load_dir))
    saved = das3r.train(reads(clip), tmp_path / "t", "dyn3d-das3r-fast", 50, 0)
    folder = saved.parent / "nerfstudio_models"
    folder.mkdir()
    (folder / "step-000000020.ckpt").touch()
    das3r.train(reads(clip), tmp_path / "t", "dyn3d-das3r-fast", 50, 0)
    (folder / "step-000000049.ckpt").touch()
    das3r.train(reads(clip), tmp_path / "t", "dyn3d-das3r-fast", 50, 0)
    assert loaded == [None, folder]


@pytest.mark.slow
def test_a_training_renders_alone_with_objects_left_in(
    cleaned: Path, cards: CardClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(config_of(cleaned))
    assert main(["clean", "--config", config, str(tmp_path / "kept.mp4"), "--keep", "1"]) == 0
    assert "10 frames of 64x48 at 10 per second, without sound" in capsys.readouterr().out
    moves = np.stack(cards.labels) > 0
    wrong = np.abs(brightness(frames_of(tmp_path / "kept.mp4")) - brightness(cards.images))
    assert wrong[moves].mean() < 12
    assert main(["clean", "--config", config, str(tmp_path / "x.mp4"), "--keep", "1", "7"]) == 2
    assert "--keep 7: there is no such object; there are 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_video_itself_gives_the_size(
    cleaned: Path, cards: CardClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of twice the size, an odd one, from the file that the clip came from."""
    import cv2

    big = [cv2.resize(image, (129, 97), interpolation=cv2.INTER_LINEAR) for image in cards.images]
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(big):
        cv2.imwrite(str(folder / f"{i}.png"), image[..., ::-1])
    config = str(config_of(cleaned))
    out = tmp_path / "big.mp4"
    assert main(["clean", str(folder), str(out), "--config", config]) == 0
    assert "129x97 is odd" in capsys.readouterr().out
    small = [cv2.resize(f, (64, 48), interpolation=cv2.INTER_AREA) for f in frames_of(out)]
    difference = np.abs(brightness(small) - brightness(frames_of(cleaned)))
    assert frames_of(out)[0].shape == (97, 129, 3) and difference.mean() < 10
    for name in ("9.png", "8.png"):
        (folder / name).unlink()
    assert main(["clean", str(folder), str(tmp_path / "short.mp4"), "--config", config]) == 2
    assert "has 8 frames, the training 10" in capsys.readouterr().err
    assert not list(tmp_path.glob("short*"))


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_file(
    cleaned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dyn3d_ns.models.das3r.clean import CleanFrames

    whole, calls = CleanFrames.compose, []

    def stop(self, frame, *args):
        calls.append(frame)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, frame, *args)

    monkeypatch.setattr(CleanFrames, "compose", stop)
    with pytest.raises(SystemExit) as stopped:
        main(["clean", "--config", str(config_of(cleaned)), str(tmp_path / "half.mp4")])
    assert stopped.value.code == 130 and not list(tmp_path.iterdir())
    assert "run the same command again to go on" in capsys.readouterr().out


def test_a_video_is_processed_beside_the_output(
    cards: CardClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Process, "run", lambda self: seen.append((self.source, self.out)))
    video = write_video(tmp_path / "v.mp4", cards.images)
    assert das3r.parser_of(str(video), tmp_path / "v_clip").data == tmp_path / "v_clip"
    assert seen == [(str(video), tmp_path / "v_clip")]
    frames = tmp_path / "done"
    cards.write(frames, "frames")
    assert das3r.parser_of(str(frames), tmp_path / "no").data == frames and len(seen) == 1
    assert das3r.parser_of(str(frames / "rgb"), tmp_path / "c").data == tmp_path / "c"
    with pytest.raises(CommandError, match="choose another --clip"):
        das3r.parser_of(str(frames / "rgb"), frames)


def test_of_a_datasets_sequence_ground_truth_is_left_to_the_evaluation(
    cards: CardClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Process, "run", lambda self: seen.append((self.source, self.out)))
    root = write_sintel(tmp_path / "sintel", cards)
    source = f"sintel:{root}/alley_1"
    parser = das3r.parser_of(source, tmp_path / "clip")
    assert seen == [(source, tmp_path / "clip")]
    assert (parser.cameras, parser.masks, parser.clip) == ("estimated", "estimated", tmp_path / "clip")
    cards.write(root / "dyn3d/final/alley_1")
    parser = das3r.parser_of(source, tmp_path / "clip")
    assert len(seen) == 1, "it was processed in its own place"
    footage = parser.setup().open()
    assert footage.camera_source == footage.mask_source == "dyn3d process"
    assert footage.truths >= {"cameras", "dynamic_mask"}


def test_frames_come_from_the_video_those_that_the_clip_took(cards: CardClip, tmp_path: Path) -> None:
    import json

    workspace = cards.write(tmp_path / "clip", "frames")
    content = json.loads(workspace.clip_path.read_text())
    content["source_frames"] = [2 * i for i in range(10)]
    workspace.clip_path.write_text(json.dumps(content))
    doubled = [image for image in cards.images for _ in range(2)]
    video = write_video(tmp_path / "v.mp4", doubled)
    footage = ClipFootage(tmp_path / "clip")
    assert len(list(recorded_images(footage, video))) == 10
    stored = list(recorded_images(footage, None))
    np.testing.assert_array_equal(stored[4], cards.images[4])


def test_the_rate_is_the_mean_and_a_varying_one_is_said(
    cards: CardClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    workspace = cards.write(tmp_path / "clip", "frames")
    assert constant_rate(ClipFootage(workspace.root)) == pytest.approx(10)
    assert not capsys.readouterr().out
    content = json.loads(workspace.clip_path.read_text())
    content["times"][5] += 0.05
    workspace.clip_path.write_text(json.dumps(content))
    assert constant_rate(ClipFootage(workspace.root)) == pytest.approx(10)
    assert "frame rate varies: written at the mean, 10 frames" in capsys.readouterr().out
    workspace.clip_path.unlink()
    assert constant_rate(ClipFootage(workspace.root)) == 24


def test_objects_are_listed_with_their_names(clip: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clip, tmp_path / "clip")
    names = ClipFootage(copy).clip.instance_labels_path
    names.write_text('{"1": "flying card"}')
    with pytest.raises(CommandError, match=r"--keep 3: .* there are 1 \(flying card\)"):
        check_kept((1, 3), copy)
    shutil.rmtree(copy / "segmentation")
    with pytest.raises(CommandError, match="has no object ids"):
        check_kept((1,), copy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("clean", "give VIDEO and OUT.mp4, in this order"),
        ("clean {video}", "give VIDEO and OUT.mp4, in this order"),
        ("clean {video} {tmp}/a.mp4 {tmp}/b.mp4", "give VIDEO and OUT.mp4, in this order"),
        ("clean {tmp}/none.mp4 {tmp}/a.mp4", "none.mp4 does not exist"),
        ("clean {video} {video}", "must be another file than VIDEO"),
        ("clean {mask} {tmp}/v.mp4", "must be another file than VIDEO"),
        ("clean {video} {tmp}/a.avi", "OUT must end in .mp4"),
        ("clean {video} {video}/a.mp4", "cannot write to {video}"),
        ("clean {video} {tmp}/a.mp4 --method no-such", "there is no method 'no-such'"),
        ("clean {video} {tmp}/a.mp4 --method dyn3d-velocity-fast", "is not of dyn3d-das3r"),
        ("clean {video} {tmp}/a.mp4 --steps 0", "--steps must be at least 1"),
        ("clean --config {tmp}/none.yml {tmp}/a.mp4", "none.yml is no file"),
        ("clean --config {other} {tmp}/a.mp4 --method dyn3d-das3r", "--config renders a training"),
        ("clean --config {other} {tmp}/a.mp4", "is not of dyn3d-das3r"),
    ],
)
def test_mistakes_are_told_before_any_work(
    arguments: str, said: str, cards: CardClip, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import yaml
    from nerfstudio.configs.method_configs import all_methods

    monkeypatch.setattr(Process, "run", lambda self: pytest.fail("it began to work"))
    places = {"video": tmp_path / "v.mp4", "mask": tmp_path / "v_mask.mp4", "tmp": tmp_path}
    places["other"] = tmp_path / "config.yml"
    for name in ("video", "mask"):
        write_video(places[name], cards.images)
    places["other"].write_text(yaml.dump(all_methods["dyn3d-velocity-fast"]))
    assert main(shlex.split(arguments.format(**places))) == 2
    assert said.format(**places) in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"v.mp4", "v_mask.mp4", "config.yml"}
