"""Results of other tools as footage: DAS3R, COLMAP, transforms.json; and which layout a folder is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from footage_files import (
    check_cameras,
    moving,
    save,
    world_points,
    write_colmap,
    write_das3r,
    write_davis,
    write_sintel,
    write_transforms,
)
from PIL import Image, ImageFilter

from dyn3d_ns.geometry.cameras import HALF_PIXEL, shift_pixel_centers
from dyn3d_ns.geometry.lenses import Lens, undistortion
from dyn3d_ns.io.errors import (
    DamagedFileError,
    DatasetError,
    ImageSizeError,
    MissingFileError,
    PoseError,
    TimeRangeError,
    UnsafePathError,
    UserError,
)
from dyn3d_ns.io.footage.clip import ClipFootage
from dyn3d_ns.io.footage.colmap import ColmapFootage
from dyn3d_ns.io.footage.das3r import Das3rFootage
from dyn3d_ns.io.footage.davis import DavisFootage
from dyn3d_ns.io.footage.layouts import open_footage
from dyn3d_ns.io.footage.sintel import SintelFootage
from dyn3d_ns.io.footage.transforms import TransformsFootage
from tests.video.cards import CardClip


@pytest.fixture(scope="module")
def truth() -> CardClip:
    return CardClip(frames=11)


@pytest.mark.parametrize("rearranged", [False, True])
def test_das3r(tmp_path: Path, truth: CardClip, rearranged: bool) -> None:
    footage = open_footage(write_das3r(tmp_path, truth, rearranged))
    assert isinstance(footage, Das3rFootage)
    check_cameras(footage, truth)
    assert [path.stem for path in footage.frames] == [f"frame_{i:04d}" for i in range(11)]
    assert footage.names == {"dynamic_mask", "motion", "depth", "disparity"}
    assert (footage.mask_source, footage.camera_source) == ("DAS3R", "DAS3R")
    # conf_10.npy is that of frame 10, not the third one.
    for i in (2, 10):
        assert np.array_equal(footage.dynamic_mask(i), moving(truth, i)), "255 moves"
        assert np.allclose(footage.motion(i), np.where(moving(truth, i), 0.75, 0.125))
        assert not footage.depth(i)[:2].any(), "the logarithm of the confidence must be above 0"
        assert np.array_equal(footage.depth(i)[2:], truth.depths[i][2:])


def test_das3r_without_binary_masks(tmp_path: Path, truth: CardClip) -> None:
    root = write_das3r(tmp_path, truth, rearranged=False)
    for path in root.glob("dynamic_mask_*.png"):
        path.unlink()
    assert np.array_equal(open_footage(root).dynamic_mask(4), moving(truth, 4))


def test_das3r_maps_of_half_the_size(tmp_path: Path, truth: CardClip) -> None:
    """Intrinsics are those of the maps."""
    root = write_das3r(tmp_path, truth, rearranged=True)
    large = CardClip(frames=11, width=256, height=192)
    for i, image in enumerate(large.images):
        save(image, root / f"images/frame_{i:04d}.png")
    assert np.allclose(open_footage(root).cameras().Ks[0], [[220, 0, 127.5], [0, 220, 95.5], [0, 0, 1]])


def test_monst3r_has_masks_of_its_own(tmp_path: Path, truth: CardClip) -> None:
    root = write_das3r(tmp_path, truth, rearranged=False)
    for path in root.glob("dyna_*.npy"):
        path.unlink()
    footage = open_footage(root)
    assert (footage.mask_source, footage.camera_source) == ("MonST3R", "MonST3R")
    assert np.array_equal(footage.motion(3), moving(truth, 3))


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda r: (r / "pred_intrinsics.txt").unlink(), DatasetError, "lacks pred_intrinsics"),
        (
            lambda r: [
                p.write_text("".join(p.read_text().splitlines(True)[:8])) for p in r.glob("pred_*.txt")
            ],
            DatasetError,
            "holds 8 poses, but the clip has 11 frames",
        ),
        (lambda r: (r / "depth_maps/frame_0004.npy").unlink(), DatasetError, "10 of 11 frames"),
        (lambda r: (r / "depth_maps/frame_0004.npy").write_bytes(b"\x93NUMPY"), DamagedFileError, "npy"),
        (
            lambda r: save(np.zeros((96, 96), np.uint8), r / "dynamic_masks/dynamic_mask_0000.png"),
            UserError,
            "128x96",
        ),
        (
            lambda r: [save(np.zeros((96, 96), np.uint8), p) for p in (r / "dynamic_masks").iterdir()],
            ImageSizeError,
            "another proportion",
        ),
        (
            lambda r: (r / "pred_traj.txt").write_text("0 nan 0 0 1 0 0 0\n" * 11),
            PoseError,
            "pose 0 is not finite",
        ),
    ],
)
def test_damaged_das3r(
    tmp_path: Path, break_it, error: type[Exception], message: str, truth: CardClip
) -> None:
    root = write_das3r(tmp_path, truth, rearranged=True)
    break_it(root)
    with pytest.raises(error, match=message):
        open_footage(root).cameras()


def test_colmap(tmp_path: Path, truth: CardClip) -> None:
    footage = open_footage(write_colmap(tmp_path, truth))
    assert isinstance(footage, ColmapFootage)
    assert [path.stem for path in footage.frames] == [f"f{i + 1}" for i in range(11)], "f2 before f10"
    check_cameras(footage, truth)
    assert footage.mask_source == "masks"
    assert np.array_equal(footage.dynamic_mask(9), moving(truth, 9)), "0 moves"
    points = footage.points(0)
    assert points is not None
    assert np.allclose(np.sort(points[0], axis=0), np.sort(world_points(), axis=0))
    assert (points[1] == [10, 20, 30]).all()


def test_colmap_masks_by_stem_and_images_elsewhere(tmp_path: Path, truth: CardClip) -> None:
    """Images of another size than the model states, in another folder; masks called f1.png."""
    root = write_colmap(tmp_path, truth)
    (root / "images").rename(root / "images_2")
    large = CardClip(frames=11, width=256, height=192)
    for i, image in enumerate(large.images):
        save(image, root / f"images_2/f{i + 1}.jpg")
        (root / f"masks/f{i + 1}.jpg.png").rename(root / f"masks/f{i + 1}.png")
    footage = open_footage(root)
    assert np.allclose(footage.cameras().Ks[0], [[220, 0, 127.5], [0, 220, 95.5], [0, 0, 1]])
    assert np.array_equal(footage.dynamic_mask(1), moving(truth, 1))


def test_images_that_colmap_did_not_register(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture
) -> None:
    root = write_colmap(tmp_path, truth)
    model = root / "sparse/0/images.txt"
    lines = model.read_text().split("\n\n")
    model.write_text("\n\n".join(line for line in lines if not line.endswith(("f3.jpg", "f10.jpg"))))
    footage = open_footage(root)
    assert (
        "registered 9 images; 2 others have no pose and are left out (first: f3.jpg)"
        in capsys.readouterr().err
    )
    kept = [0, 1, 3, 4, 5, 6, 7, 8, 10]
    assert len(footage.frames) == 9
    check_cameras(footage, truth, kept)
    assert np.array_equal(footage.dynamic_mask(2), moving(truth, 3)), "masks go by name"
    model.write_text("\n\n".join(lines[:1]) + "\n\n")
    with pytest.raises(DatasetError, match="at least 2"):
        open_footage(root)


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda r: (r / "images/f3.jpg").unlink(), MissingFileError, "lacks 1 of the 11 images .* f3.jpg"),
        (
            lambda r: (r / "masks/f3.jpg.png").unlink(),
            DatasetError,
            "masks of 10 of 11 images .none of f3.jpg",
        ),
        (lambda r: (r / "sparse/0/cameras.txt").write_text(""), DamagedFileError, "not a readable COLMAP"),
        (lambda r: (r / "sparse/0/points3D.txt").unlink(), DamagedFileError, "not a readable COLMAP"),
        (
            lambda r: _replace(r / "sparse/0/images.txt", "f3.jpg", "../f3.jpg"),
            UnsafePathError,
            "leads out",
        ),
    ],
)
def test_damaged_colmap(
    tmp_path: Path, break_it, error: type[Exception], message: str, truth: CardClip
) -> None:
    root = write_colmap(tmp_path, truth)
    break_it(root)
    with pytest.raises(error, match=message):
        open_footage(root)


def test_das3r_poses_go_by_number(tmp_path: Path, truth: CardClip) -> None:
    root = write_das3r(tmp_path, truth, rearranged=True)
    for path in root.glob("*/*_0004.*"):
        path.unlink()
    footage = open_footage(root)
    check_cameras(footage, truth, [i for i in range(11) if i != 4])


def test_das3r_maps_that_a_network_cropped(tmp_path: Path, truth: CardClip) -> None:
    """The video is 128x96; a network with 112 pixels' width crops 112x84 to multiples of 16."""
    root = write_das3r(tmp_path, truth, rearranged=True)
    for path in root.glob("d*_maps/*.npy"):
        np.save(path, np.ones((80, 112), np.float32))
    Ks = truth.K * np.array([[112 / 128], [112 / 128], [1]])
    Ks[:2, 2] = 55.5, 39.5
    np.savetxt(root / "pred_intrinsics.txt", np.tile(Ks.ravel(), (11, 1)))
    found = open_footage(root).cameras().Ks
    np.testing.assert_allclose(found[3], truth.K, atol=1e-6)


def test_the_lens_of_colmap_is_undone_once(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture
) -> None:
    root = write_colmap(tmp_path, truth, lens="OPENCV")
    footage = open_footage(root)
    assert "the lens of 11 images is undone: OPENCV (k1 0.1)" in capsys.readouterr().err
    K = shift_pixel_centers(truth.K, HALF_PIXEL)
    undo = undistortion(Lens.named("OPENCV", {"k1": 0.1}), K, (truth.width, truth.height))
    assert undo is not None
    np.testing.assert_allclose(shift_pixel_centers(footage.cameras().Ks[2], HALF_PIXEL), undo.K)
    bent = np.array(Image.open(root / "images/f3.jpg"))
    straight = np.array(Image.open(footage.frames[2]))
    assert np.array_equal(straight, undo.colors(bent)) and not np.array_equal(straight, bent)
    assert np.array_equal(footage.dynamic_mask(2), undo.nearest(moving(truth, 2)))
    assert footage.size == (truth.width, truth.height)
    # It is kept, and made anew where the image is another one.
    before = {path: path.stat().st_mtime_ns for path in footage.frames}
    save(truth.images[0], root / "images/f3.jpg")
    again = open_footage(root).frames
    assert [a == b for a, b in zip(again, footage.frames, strict=True)] == [i != 2 for i in range(11)]
    assert all(path.stat().st_mtime_ns == before[path] for path in again if path in before)


def test_a_lens_that_cannot_be_undone_is_named(tmp_path: Path, truth: CardClip) -> None:
    root = write_colmap(tmp_path, truth)
    cameras = root / "sparse/0/cameras.txt"
    rows = [f"{line} 0.01" for line in cameras.read_text().replace("PINHOLE", "FOV").splitlines()]
    cameras.write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match="model FOV.*colmap image_undistorter"):
        open_footage(root)


@pytest.mark.parametrize("name", ["cameras.bin", "points3D.bin", "images.bin"])
def test_a_binary_model_that_is_cut_off(tmp_path: Path, truth: CardClip, name: str) -> None:
    import pycolmap

    root = write_colmap(tmp_path, truth)
    model = root / "sparse/0"
    pycolmap.Reconstruction(str(model)).write_binary(str(model))
    for path in model.glob("*.txt"):
        path.unlink()
    check_cameras(open_footage(root), truth)
    (model / name).write_bytes((model / name).read_bytes()[:-20])
    with pytest.raises(DamagedFileError):
        open_footage(root)


HALF = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
"""From a first pixel centre at 0 to one at 0.5."""


def test_transforms(tmp_path: Path, truth: CardClip) -> None:
    footage = open_footage(write_transforms(tmp_path, truth))
    assert isinstance(footage, TransformsFootage)
    assert [path.stem for path in footage.frames] == [str(i) for i in range(11)], "by name, 2 before 10"
    check_cameras(footage, truth)
    assert footage.names == {"dynamic_mask", "motion", "depth", "disparity"}
    assert np.array_equal(footage.dynamic_mask(10), moving(truth, 10)), "255 is used: static"
    assert np.allclose(footage.motion(10), np.where(moving(truth, 10), 0.9, 0.2))
    assert np.allclose(footage.depth(10), truth.depths[10], atol=1e-3), "thousandths"
    points = footage.points(0)
    assert points is not None and np.allclose(points[0], world_points(), atol=1e-5), "not transformed again"
    assert np.allclose(footage.times[0], np.linspace(0, 1, 11))


def test_transforms_with_times_arrays_and_no_masks(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_transforms(tmp_path, truth)
    content = json.loads((root / "transforms.json").read_text())
    times = np.linspace(1, 0.2, 11)
    for frame in content["frames"]:
        i = int(Path(frame["file_path"]).stem)
        np.save(root / f"depth/z{i}.npy", truth.depths[i])
        Image.fromarray(truth.depths[i].astype(np.float32)).save(root / f"depth/z{i}.tif")
        del frame["mask_path"]
        ending = "npy" if i % 2 else "tif"
        frame |= {"time": times[i], "depth_file_path": f"depth/z{i}.{ending}", "mask": "m.png"}
    (root / "transforms.json").write_text(json.dumps(content))
    footage = open_footage(root)
    assert [path.stem for path in footage.frames] == [str(10 - i) for i in range(11)]
    assert np.allclose(footage.times[0], np.linspace(0.2, 1, 11))
    check_cameras(footage, truth, list(range(11))[::-1])
    assert np.array_equal(footage.dynamic_mask(0), moving(truth, 10))
    for i in (0, 1):
        assert np.array_equal(footage.depth(i), truth.depths[10 - i]), "units, as images of floats are"
    assert (
        "not used: `applied_transform` (the world stays that of the poses); `mask`" in capsys.readouterr().err
    )


def test_the_lens_of_transforms_is_undone_in_all_that_is_read(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lens of one frame: its image, mask, depth and probability stay together, the others as they are."""
    root = write_transforms(tmp_path, truth)
    content = json.loads((root / "transforms.json").read_text())
    entry = next(frame for frame in content["frames"] if frame["file_path"] == "images/4.png")
    entry |= {"camera_model": "OPENCV_FISHEYE", "k1": 0.05}
    (root / "transforms.json").write_text(json.dumps(content))
    footage, size = open_footage(root), (truth.width, truth.height)
    assert "the lens of 1 images is undone: OPENCV_FISHEYE (k1 0.05)" in capsys.readouterr().err
    undo = undistortion(Lens.named("OPENCV_FISHEYE", {"k1": 0.05}), truth.K + HALF, size)
    assert undo is not None and footage.size == size
    assert np.allclose(footage.cameras().Ks[4], undo.K - HALF)
    assert np.allclose(footage.cameras().Ks[5], truth.K)
    assert np.array_equal(np.array(Image.open(footage.frames[4])), undo.colors(truth.images[4]))
    assert footage.frames[5] == root / "images/5.png"
    assert np.array_equal(footage.dynamic_mask(4), undo.nearest(moving(truth, 4)))
    assert np.allclose(footage.depth(4), undo.nearest(truth.depths[4]), atol=1e-3)
    likely = np.where(moving(truth, 4), 0.9, 0.2).astype(np.float32)
    assert np.allclose(footage.motion(4), undo.soft(likely), atol=1e-6)


def test_transforms_with_timestamps_and_a_unit_of_depth(
    tmp_path: Path, truth: CardClip, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_transforms(tmp_path, truth)
    content = json.loads((root / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["timestamp"] = 7.0 - int(Path(frame["file_path"]).stem) / 20
    content |= {"depth_unit_scale_factor": 2e-3, "train_filenames": []}
    (root / "transforms.json").write_text(json.dumps(content))
    footage = open_footage(root)
    assert [path.stem for path in footage.frames] == [str(10 - i) for i in range(11)]
    times, fps = footage.times
    assert np.allclose(times, np.linspace(0, 1, 11)) and fps == pytest.approx(20)
    assert np.allclose(footage.depth(0), 2 * truth.depths[10], atol=2e-3)
    told = capsys.readouterr().err
    assert "times are those of `timestamp`" in told and "`train_filenames` not used" in told


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.update(depth_unit_scale_factor=-1), DamagedFileError, "must be above 0, got -1"),
        (lambda c: c.update(camera_model="EQUIRECTANGULAR"), DatasetError, "frame 10: .*EQUIRECTANGULAR"),
        (lambda c: c["frames"][3].update(k4=0.1), DatasetError, "frame 3: .*no coefficients k4"),
        (
            lambda c: c["frames"][3].update(mask_path="../masks/0.png"),
            UnsafePathError,
            "`mask_path`.*leads out",
        ),
        (
            lambda c: c["frames"][3].update(depth_file_path="/depth/0.png"),
            UnsafePathError,
            "must be relative",
        ),
        (lambda c: c.update(ply_file_path="../cloud.ply"), UnsafePathError, "`ply_file_path`"),
        (lambda c: c["frames"][3].update(mask_path="masks/99.png"), MissingFileError, "frame 3: `mask_path`"),
        (lambda c: c["frames"][3].pop("mask_path"), DatasetError, "10 of 11 frames have a `mask_path`"),
        (lambda c: c["frames"][3].update(time=0.5), TimeRangeError, "10 of 11 frames have no `time`"),
        (lambda c: [f.update(time=0.5) for f in c["frames"]], TimeRangeError, "the same time"),
        (lambda c: c["frames"][3].pop("transform_matrix"), PoseError, "frame 3"),
        (
            lambda c: c["frames"][3]["transform_matrix"][0].__setitem__(0, float("nan")),
            PoseError,
            "frame 3: .* NaN",
        ),
        (lambda c: c.update(w=96), ImageSizeError, "frame 10: 0.png is .* expects 96x96"),
        (lambda c: c.update(frames=[]), DamagedFileError, "`frames` must be"),
    ],
)
def test_faults_of_transforms(
    tmp_path: Path, change, error: type[Exception], message: str, truth: CardClip
) -> None:
    root = write_transforms(tmp_path, truth)
    content = json.loads((root / "transforms.json").read_text())
    change(content)
    (root / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        open_footage(root)


def test_which_layout_it_is(tmp_path: Path, truth: CardClip) -> None:
    clip = truth.write(tmp_path / "clip").root
    write_transforms(clip, truth)
    assert isinstance(open_footage(clip), ClipFootage), "a clip's own transforms.json is for Nerfstudio"
    sintel = write_sintel(tmp_path / "both", truth)
    for path in (sintel, sintel / "training/final/alley_1"):
        assert isinstance(open_footage(path), SintelFootage)
    davis = write_davis(tmp_path / "davis", truth)
    truth.write(davis / "dyn3d/480p/dog")
    for path in (davis, davis / "JPEGImages/480p/dog"):
        assert isinstance(open_footage(path), DavisFootage)
    rearranged = write_das3r(tmp_path / "rearranged", truth, rearranged=True)
    (write_colmap(tmp_path / "colmap", truth) / "sparse").rename(rearranged / "sparse")
    assert isinstance(open_footage(rearranged), Das3rFootage), "it has a COLMAP model too"


def test_what_is_no_layout(tmp_path: Path, truth: CardClip) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        open_footage(tmp_path / "nothing")
    (tmp_path / "dog.mp4").write_bytes(b"")
    with pytest.raises(DatasetError, match="run `dyn3d process .*dog.mp4 OUT`"):
        open_footage(tmp_path / "dog.mp4")
    with pytest.raises(DatasetError, match=r"DAVIS \(JPEGImages/\).*it holds dog.mp4$"):
        open_footage(tmp_path)
    save(truth.images[0], tmp_path / "images/a.png")
    with pytest.raises(DatasetError, match="have no cameras: `dyn3d process .*images OUT`"):
        open_footage(tmp_path)


def test_frames_of_two_sizes(tmp_path: Path, truth: CardClip) -> None:
    save(truth.images[0][:, :64], truth.write(tmp_path / "clip").frame_path(3))
    with pytest.raises(ImageSizeError, match="00003.png is 64x96"):
        _ = open_footage(tmp_path / "clip").size
    save(truth.images[0][:, :64], write_das3r(tmp_path / "das3r", truth, True) / "images/frame_0003.png")
    save(truth.images[0][:, :64], write_colmap(tmp_path / "colmap", truth) / "images/f3.jpg")
    save(truth.images[0][:, :64], write_transforms(tmp_path / "transforms", truth) / "images/3.png")
    for name in ("das3r", "colmap", "transforms"):
        with pytest.raises(ImageSizeError, match="64x96"):
            open_footage(tmp_path / name)


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_masks_with_soft_edges_and_noise(tmp_path: Path, truth: CardClip, ending: str) -> None:
    """COLMAP's masks are 0 where something moves; half of white is the edge, and JPEG has no exact 0."""
    write_colmap(tmp_path, truth)
    for path in (tmp_path / "masks").iterdir():
        with Image.open(path) as image:
            soft = image.convert("L").filter(ImageFilter.GaussianBlur(1.5))
        path.unlink()
        soft.save(path.with_suffix(f".{ending}"))
    footage = ColmapFootage(tmp_path)
    for i in range(truth.num_frames):
        assert (footage.dynamic_mask(i) != moving(truth, i)).mean() < 0.02
