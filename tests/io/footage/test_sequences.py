"""DAVIS and Sintel as footage, and where their sequences lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from footage_files import check_cameras, moving, posed, save, write_davis, write_sintel
from PIL import Image

from dyn3d_ns.cli.main import main
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError, PoseError
from dyn3d_ns.io.footage.davis import DavisFootage
from dyn3d_ns.io.footage.sintel import SintelFootage
from dyn3d_ns.io.sequences import find_davis, find_sintel, named_sequence
from tests.sintel_files import write_cam
from tests.video.cards import CardClip


@pytest.fixture(scope="module")
def truth() -> CardClip:
    return CardClip(frames=4)


@pytest.fixture
def davis(tmp_path: Path, truth: CardClip) -> Path:
    root = write_davis(tmp_path, truth)
    truth.write(root / "dyn3d/480p/dog")
    return root


def test_davis_names_its_sequences(davis: Path, truth: CardClip) -> None:
    own = davis / "JPEGImages/480p/dog"
    assert find_davis(davis) == find_davis(own) == find_davis(davis, "dog", "480p")
    assert named_sequence(f"davis:{davis}/dog") == named_sequence(f"davis:{davis}") == find_davis(davis)
    assert named_sequence(str(own)) == find_davis(davis)
    assert named_sequence(str(davis / "Annotations")) is None
    write_davis(davis, truth, "cat")
    with pytest.raises(DatasetError, match="2 sequences; give one with --sequence: cat, dog"):
        find_davis(davis)
    with pytest.raises(DatasetError, match="no sequence 'cow'"):
        named_sequence(f"davis:{davis}/cow")
    save(truth.images[0], davis / "JPEGImages/1080p/dog/00000.jpg")
    assert find_davis(davis, "dog").variant == "480p"
    large = find_davis(davis, resolution="1080p")
    assert named_sequence(large.source) == large, "the command makes what the parser looks for"
    with pytest.raises(DatasetError, match="no resolution '4K'"):
        find_davis(davis, "dog", "4K")


def test_davis(davis: Path, truth: CardClip) -> None:
    footage = DavisFootage(find_davis(davis))
    assert [path.name for path in footage.frames] == [f"{i:05d}.jpg" for i in range(4)]
    assert footage.mask_source == "annotations"
    assert footage.truths == {"dynamic_mask"}
    for i in range(4):
        assert np.array_equal(footage.dynamic_mask(i), moving(truth, i)), "ids 1 and 3 move"
        assert np.array_equal(footage.motion(i), moving(truth, i))
    assert np.allclose(footage.depth(1), truth.depths[1])
    assert np.allclose(footage.cameras().Ks[0], truth.K)
    estimated = DavisFootage(find_davis(davis), masks="estimated")
    assert estimated.mask_source == "dyn3d process"
    assert estimated.truths == {"dynamic_mask"}, "what is trained with is no matter"
    assert "dynamic_mask" not in DavisFootage(find_davis(davis), masks="none").names


def test_davis_first_frame_annotated(tmp_path: Path, truth: CardClip) -> None:
    """DAVIS test-dev has one annotation a sequence; it is none of the others'."""
    root = write_davis(tmp_path, truth, annotated=range(1))
    truth.write(root / "dyn3d/480p/dog")
    footage = DavisFootage(find_davis(root))
    assert footage.mask_source == "dyn3d process"
    assert not footage.truths
    assert "1 annotations for 4 frames" in footage.advice
    assert np.array_equal(footage.dynamic_mask(3), moving(truth, 3))
    with pytest.raises(DatasetError, match="needs one for each"):
        DavisFootage(find_davis(root), masks="annotations")
    # As many as frames, but of other names.
    for i in range(1, 4):
        save(truth.labels[i].astype(np.uint8), root / f"Annotations/480p/dog/{i + 1:05d}.png")
    assert not DavisFootage(find_davis(root)).truths


def test_a_clip_of_half_the_size(tmp_path: Path, truth: CardClip) -> None:
    """The middle of pixel 0 of two is that of pixel 0.5 of the frames."""
    root = write_davis(tmp_path, CardClip(frames=4, width=256, height=192))
    truth.write(root / "dyn3d/480p/dog")
    footage = DavisFootage(find_davis(root))
    assert np.allclose(footage.cameras().Ks[2], [[220, 0, 127.5], [0, 220, 95.5], [0, 0, 1]])
    before, after = truth.tracks(), footage.tracks()
    assert np.allclose(after.xy, before.xy * 2 + 0.5, atol=1e-4)
    assert (after.width, after.height) == (256, 192)


def test_clips_that_do_not_fit(tmp_path: Path, truth: CardClip) -> None:
    root = write_davis(tmp_path / "a", truth)
    with pytest.raises(DatasetError, match=f"run `dyn3d process davis:{root}/dog`, which"):
        DavisFootage(find_davis(root))
    with pytest.raises(DatasetError, match=f"dog {tmp_path}/mine`"):
        DavisFootage(find_davis(root), clip=tmp_path / "mine")
    CardClip(frames=3).write(root / "dyn3d/480p/dog")
    with pytest.raises(DatasetError, match=r"has 3 frames, .* 4; run"):
        DavisFootage(find_davis(root))
    CardClip(frames=4, width=96).write(tmp_path / "wide")
    with pytest.raises(ImageSizeError, match="another proportion"):
        DavisFootage(find_davis(root), clip=tmp_path / "wide")


def test_damaged_davis(davis: Path, truth: CardClip) -> None:
    save(np.zeros((96, 96), np.uint8), davis / "Annotations/480p/dog/00002.png")
    with pytest.raises(ImageSizeError, match="00002.png is 96x96"):
        DavisFootage(find_davis(davis))
    save(truth.images[2][:, :64], davis / "JPEGImages/480p/dog/00002.jpg")
    with pytest.raises(ImageSizeError, match="00002.jpg is 64x96"):
        DavisFootage(find_davis(davis))
    (davis / "JPEGImages/480p/dog/00002.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DamagedFileError, match="not a readable image"):
        DavisFootage(find_davis(davis))


def test_sintel_names_its_sequences(tmp_path: Path, truth: CardClip) -> None:
    root = write_sintel(tmp_path, truth)
    own = root / "training/final/alley_1"
    assert find_sintel(root) == find_sintel(own) == named_sequence(f"sintel:{root}/alley_1")
    assert named_sequence(f"sintel:{root}/final/alley_1") == named_sequence(str(own)) == find_sintel(root)
    assert find_sintel(root).clip == root / "dyn3d/final/alley_1"
    with pytest.raises(DatasetError, match="not in clean"):
        find_sintel(root, render_pass="clean")
    save(truth.images[0], root / "training/clean/alley_1/frame_0001.png")
    clean = find_sintel(root, "alley_1", "clean")
    assert named_sequence(clean.source) == clean
    save(truth.images[0], root / "test/final/ambush_1/frame_0001.png")
    assert find_sintel(root, "ambush_1").folder == root / "test/final/ambush_1"


def test_sintel(tmp_path: Path, truth: CardClip) -> None:
    footage = SintelFootage(find_sintel(write_sintel(tmp_path, truth)))
    check_cameras(footage, truth)
    assert footage.names == {"dynamic_mask", "motion", "depth", "disparity", "flow"}
    assert footage.truths == {"cameras", "dynamic_mask"}
    assert (footage.camera_source, footage.mask_source) == ("ground truth", "ground truth")
    assert np.allclose(footage.true_cameras(), posed(truth))
    depth = footage.depth(2)
    assert not depth[0].any(), "255 is invalid"
    assert np.array_equal(depth[1:], truth.depths[2][1:])
    flow = footage.flow(1, 2)
    assert np.allclose(flow.flow, truth.flow(1, 2).flow)
    assert np.array_equal(flow.valid[1:], truth.flow(1, 2).valid[1:])
    assert not flow.valid[0].any()
    assert footage.has_flow(2, 3) and not footage.has_flow(3, 4) and not footage.has_flow(2, 1)


def test_the_last_frame_of_sintel_has_no_label(tmp_path: Path, truth: CardClip) -> None:
    footage = SintelFootage(find_sintel(write_sintel(tmp_path, truth)))
    assert [footage.has_true_mask(i) for i in range(4)] == [True, True, True, False]
    assert not footage.true_mask(3).any()
    both = footage.dynamic_mask(3) & moving(truth, 3)
    assert both.sum() / (footage.dynamic_mask(3) | moving(truth, 3)).sum() > 0.9
    stays = footage.true_mask(2) & moving(truth, 3)
    assert both.sum() > stays.sum(), "carried along the flow, not copied"


def test_sintel_is_matched_by_number(tmp_path: Path, truth: CardClip) -> None:
    """A label that is missing in the middle moves no other, and leaves the labels incomplete."""
    root = write_sintel(tmp_path, truth)
    (root / "training/dynamic_label_perfect/alley_1/frame_0002.png").unlink()
    footage = SintelFootage(find_sintel(root))
    assert "dynamic_mask" not in footage.truths | footage.names
    assert np.array_equal(footage.true_mask(2), moving(truth, 2))
    (root / "training/final/alley_1/frame_0001.png").unlink()
    later = SintelFootage(find_sintel(root))
    assert np.allclose(later.true_cameras(), posed(truth)[1:])
    assert np.array_equal(later.depth(0)[1:], truth.depths[1][1:])


def test_sintel_with_estimates(tmp_path: Path, truth: CardClip) -> None:
    root = write_sintel(tmp_path, truth)
    sequence = find_sintel(root)
    for settings in ({"cameras": "estimated"}, {"masks": "estimated"}):
        with pytest.raises(DatasetError, match=f"run `dyn3d process sintel:{root}/alley_1`"):
            SintelFootage(sequence, **settings)
    workspace = truth.write(root / "dyn3d/final/alley_1")
    workspace.write_depths((depth * 2 for depth in truth.depths), 4)
    footage = SintelFootage(sequence, cameras="estimated")
    assert np.allclose(footage.cameras().camera_to_worlds, truth.poses), "the clip's world"
    assert np.allclose(footage.depth(1), truth.depths[1] * 2), "depth goes with the cameras"
    assert np.allclose(footage.true_cameras(), posed(truth)), "and is measured by the truth"
    assert (footage.camera_source, footage.mask_source) == ("dyn3d process", "ground truth")
    assert "tracks" in footage.names
    (tmp_path / "test/final").mkdir(parents=True)
    (root / "training/final/alley_1").rename(tmp_path / "test/final/ambush_1")
    truth.write(root / "dyn3d/final/ambush_1")
    test = SintelFootage(find_sintel(root, "ambush_1"))
    assert not test.truths
    assert (test.camera_source, test.mask_source) == ("dyn3d process", "dyn3d process")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("camdata_left/alley_1/frame_0002.cam", b"PIEH" * 43, PoseError, "frame_0002.cam: its pose"),
        ("camdata_left/alley_1/frame_0002.cam", b"\x89PNG" * 43, DamagedFileError, "not a .cam file"),
        ("camdata_left/alley_1/frame_0002.cam", b"PIEH" * 20, DamagedFileError, "instead of 172"),
        ("camdata_left/alley_1/frame_0002.cam", None, DatasetError, "files for 3 of 4 frames"),
        ("final/alley_1/frame_0002.png", b"", DamagedFileError, "not a readable image"),
    ],
)
def test_damaged_sintel(
    tmp_path: Path, truth: CardClip, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    root = write_sintel(tmp_path, truth)
    path = root / "training" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        SintelFootage(find_sintel(root), cameras="gt").cameras()


def test_a_pose_that_is_not_finite(tmp_path: Path, truth: CardClip) -> None:
    root = write_sintel(tmp_path, truth)
    view = np.eye(4)[:3] * np.nan
    write_cam(root / "training/camdata_left/alley_1/frame_0003.cam", truth.K, view)
    with pytest.raises(PoseError, match="frame_0003.cam: its pose is not finite"):
        SintelFootage(find_sintel(root)).cameras()


def test_clean_plates(davis: Path, truth: CardClip) -> None:
    for i in range(4):
        save(np.full((96, 128, 3), 10 * i, np.uint8), davis / f"ground_truth/clean/frame_{i + 1:04d}.png")
    footage = DavisFootage(find_davis(davis))
    assert "clean" in footage.truths
    assert footage.clean(2).mean() == 20, "by order: DAVIS counts from 0, the plates from 1"
    (davis / "ground_truth/clean/frame_0004.png").unlink()
    assert "clean" not in DavisFootage(find_davis(davis)).truths


def test_process_knows_where_it_belongs(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture
) -> None:
    root = write_davis(tmp_path, truth)
    assert main(["process", f"davis:{root}/dog", "--stages", "frames"]) == 0
    assert (root / "dyn3d/480p/dog/rgb/00003.png").is_file()
    other = tmp_path / "other"
    assert main(["process", f"davis:{root}/dog", str(other), "--stages", "frames"]) == 0
    assert (other / "clip.json").is_file()
    assert main(["process", str(root), "--stages", "frames"]) == 2
    assert "OUT is missing" in capsys.readouterr().err
    assert main(["info", str(root)]) == 0
    assert f"dyn3d process davis:{root}/dog" in capsys.readouterr().out.replace("\n", "")
    (root / "dyn3d/480p/cat").write_text("a file in the way")
    write_davis(root, truth, "cat")
    assert main(["process", f"davis:{root}/cat", "--stages", "frames"]) == 2
    assert "OUT must be a folder" in capsys.readouterr().err


def test_variants_of_one_root_do_not_mix(davis: Path) -> None:
    sequence = find_davis(davis)
    assert replace(sequence, variant="1080p").clip != sequence.clip


def test_annotations_with_soft_edges_and_images_that_are_turned(
    davis: Path, truth: CardClip, capsys: pytest.CaptureFixture
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for i in range(4):
        soft = cv2.GaussianBlur(moving(truth, i).astype(np.uint8) * 255, (5, 5), 0)
        save(soft, davis / f"Annotations/480p/dog/{i:05d}.png")
        path = davis / f"JPEGImages/480p/dog/{i:05d}.jpg"
        with Image.open(path) as image:
            image.save(path, exif=exif)
        save(truth.images[i], davis / f"JPEGImages/480p/dog/{i:05d}_depth.png")
    footage = DavisFootage(find_davis(davis))
    assert [path.name for path in footage.frames] == [f"{i:05d}.jpg" for i in range(4)]
    for i in range(4):
        wrong = footage.dynamic_mask(i) != moving(truth, i)
        assert wrong.mean() < 0.01, "the halo of the blur is no part of it"
    told = capsys.readouterr().err
    assert "soft edges" in told
    assert "00000_depth.png … (4)" in told
    assert "turned by its EXIF" in told
