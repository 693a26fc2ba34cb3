"""What transforms files state beside cameras: times, splits, masks, points, and what is told of the rest."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import ANGLE_X, camera_pose, frame, write_image, write_json, write_scene

from dyn3d_ns.data.dataset import DynamicDataset
from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.io.errors import DatasetError, ImageSizeError, MissingFileError
from dyn3d_ns.io.layouts import describe
from dyn3d_ns.io.ply import write_points
from dyn3d_ns.io.scene_metadata import scene_of


def parse(data, split="train", **options):
    return DynamicObjectDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def write_single(root, cameras=3, frames=2, **top):
    """Write one transforms.json; return its content."""
    entries = []
    for c in range(cameras):
        for f in range(frames):
            write_image(root / f"images/c{c}_{f}.png", mode="RGB", seed=10 * c + f)
            entries.append(frame(f"images/c{c}_{f}.png", camera_pose(c), f / max(frames - 1, 1)))
    content = {"camera_angle_x": ANGLE_X, "frames": entries, **top}
    write_json(root / "transforms.json", content)
    return content


def test_timestamps_run_over_all_files_together(tmp_path, capsys):
    write_scene(tmp_path)
    for name in ("train", "val", "test"):
        seconds = lambda c: [f.update(timestamp=50 + 12 * f.pop("time") / 10) for f in c["frames"]]  # noqa: E731
        edit(tmp_path / f"transforms_{name}.json", seconds)
    train, test = parse(tmp_path), parse(tmp_path, "test")
    np.testing.assert_allclose(
        sorted(set(train.cameras.times.flatten().tolist())), np.arange(9) / 11, atol=1e-6
    )
    assert test.cameras.times.max() == 1
    timeline = scene_of(train.metadata).timeline
    assert timeline.num_frames == 12 and timeline.fps == pytest.approx(10)
    assert capsys.readouterr().err.count("times are those of `timestamp`") == 1
    assert scene_of(parse(tmp_path, fps=25.0).metadata).timeline.fps == 25
    edit(tmp_path / "transforms_train.json", lambda c: c.update(fps=30))
    assert scene_of(parse(tmp_path).metadata).timeline.fps == 30


def test_a_file_without_the_others_times_is_refused(tmp_path):
    write_scene(tmp_path)
    edit(tmp_path / "transforms_test.json", lambda c: [f.pop("time") for f in c["frames"]])
    with pytest.raises(DatasetError, match="transforms_test.json, frame 0: 15 of 60 frames have no `time`"):
        parse(tmp_path)


def test_without_times_every_image_is_kept_and_one_line_says_so(tmp_path):
    content = write_single(tmp_path, frames=4)
    for entry in content["frames"]:
        del entry["time"]
    write_json(tmp_path / "transforms.json", content)
    train, test = (parse(tmp_path, split, hold_out_cameras=(1,)) for split in ("train", "test"))
    assert len(train.image_filenames) == 8 and len(test.image_filenames) == 4
    notes = "\n".join(describe(tmp_path).notes + scene_notes(tmp_path))
    assert "no frame has a time" in notes
    assert "9 frames have the camera and time of another image; all are kept" in notes


def scene_notes(root):
    parser = DynamicObjectDataParserConfig(data=root, hold_out_cameras=(1,)).setup()
    return parser._scene[0].notes


def test_frames_that_repeat_others_are_counted(tmp_path, capsys):
    write_scene(tmp_path, frames=6, observed=4)
    train = json.loads((tmp_path / "transforms_train.json").read_text())
    edit(tmp_path / "transforms_val.json", lambda c: c["frames"].extend(train["frames"][:3]))
    parse(tmp_path)
    assert "3 frames repeat the camera and time of others and count once" in capsys.readouterr().err


def test_cameras_of_unequal_length_share_moments(tmp_path):
    data = {}
    for c, frames in enumerate((6, 5, 6)):
        entries = []
        for f in range(frames):
            write_image(tmp_path / f"cam{c}" / f"{f}.png")
            entries.append({"file_path": f"cam{c}/{f}"})
        data[f"cam{c}"] = {"transform_matrix": camera_pose(c).tolist(), "frames": entries}
    last = {"cam2": data.pop("cam2")}
    write_json(tmp_path / "transforms_train.json", {"camera_angle_x": ANGLE_X, "data": data})
    write_json(tmp_path / "transforms_test.json", {"camera_angle_x": ANGLE_X, "data": last})
    outputs = parse(tmp_path)
    assert scene_of(outputs.metadata).timeline.num_frames == 6
    np.testing.assert_allclose(outputs.cameras.times.flatten()[6:], np.arange(5) / 5, atol=1e-6)
    assert any("cameras differ in their frames (5 to 6)" in note for note in describe(tmp_path).notes)


LISTS = {
    "all": (("c0_0.png", "c0_1", "c1_0.png", "c1_1.png"), ("c2_0.png",), ("c2_0.png", "c2_1.png")),
    "windows": (("c0_0.png", "c0_1.png", "c1_0.png", "c1_1.png"), (), ("c2_0.png", "c2_1.png")),
}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_names_are_the_split(tmp_path, form):
    content = write_single(tmp_path)
    for split, names in zip(("train", "val", "test"), LISTS[form], strict=True):
        slash = "\\" if form == "windows" else "/"
        content[f"{split}_filenames"] = [f".{slash}images{slash}{name}" for name in names]
    write_json(tmp_path / "transforms.json", content)
    train, test = parse(tmp_path), parse(tmp_path, "test")
    assert {p.name for p in train.image_filenames} == {"c0_0.png", "c0_1.png", "c1_0.png", "c1_1.png"}
    assert {p.name for p in test.image_filenames} == {"c2_0.png", "c2_1.png"}
    # Held-out cameras leave the training too; what was listed for evaluation stays there.
    held = parse(tmp_path, hold_out_cameras=(0,))
    assert {p.name for p in held.image_filenames} == {"c1_0.png", "c1_1.png"}
    assert Counter(scene_of(parse(tmp_path, "test", hold_out_cameras=(0,)).metadata).splits) == {"interp": 4}


def test_a_single_list_leaves_the_rest_to_the_other_part(tmp_path):
    content = write_single(tmp_path, train_filenames=[f"images/c{c}_{f}.png" for c in (0, 1) for f in (0, 1)])
    assert {p.name for p in parse(tmp_path, "val").image_filenames} == {"c2_0.png", "c2_1.png"}
    content["test_filenames"] = content.pop("train_filenames")
    write_json(tmp_path / "transforms.json", content)
    assert len(parse(tmp_path).image_filenames) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["images/c9_0.png"], "`train_filenames`: no image at .*c9_0.png"),
        (["extra.png"], "`train_filenames` names .*extra.png, which is no frame"),
        ("images/c0_0.png", "`train_filenames` must be a list"),
        ([], "leave no frame to train on"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, names, message):
    write_single(tmp_path, train_filenames=names)
    write_image(tmp_path / "extra.png")
    with pytest.raises(DatasetError, match=message):
        parse(tmp_path)


def write_masks(root, size=(16, 12), values=(0, 255), suffix="png", missing=None):
    """Give every frame of transforms.json a mask whose left half is left out."""
    content = json.loads((root / "transforms.json").read_text())
    for i, entry in enumerate(content["frames"]):
        pixels = np.full(size[::-1], values[1], np.uint8)
        pixels[:, : size[0] // 2] = values[0]
        path = root / "masks" / f"{i}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        entry["mask_path"] = f"masks/{i}.{suffix}"
    if missing is not None:
        del content["frames"][missing]["mask_path"]
    write_json(root / "transforms.json", content)


@pytest.mark.parametrize(
    ("size", "values", "suffix"),
    [
        ((16, 12), (0, 255), "png"),
        ((8, 6), (0, 1), "png"),
        ((32, 24), (3, 250), "jpg"),
        ((16, 12), (60, 200), "png"),
    ],
)
def test_masks_come_at_the_size_of_the_images(tmp_path, size, values, suffix):
    write_single(tmp_path)
    write_masks(tmp_path, size, values, suffix)
    outputs = parse(tmp_path, hold_out_cameras=(0,), downscale_factor=2)
    dataset = DynamicDataset(outputs)
    mask = dataset.get_data(0, image_type="uint8")["mask"]
    assert mask.shape == (6, 8, 1) and mask.dtype == torch.bool
    assert not mask[:, :4].any() and mask[:, 4:].all()
    without = parse(tmp_path, hold_out_cameras=(0,), load_masks=False)
    assert outputs.mask_filenames is not None and without.mask_filenames is None
    assert DynamicDataset(without).get_mask(0) is None


@pytest.mark.parametrize("kind", ["alpha", "picture", "palette"])
def test_masks_that_are_more_than_grey(tmp_path, kind):
    """The left half is transparent, or has the second colour of a palette that begins with white."""
    write_single(tmp_path)
    write_masks(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        colors = np.full((*mask.shape, 3), 0 if kind == "alpha" else 200, np.uint8)
        colors[0, 0] += kind == "picture"
        image = Image.fromarray(np.dstack((colors, mask)))
        if kind == "palette":
            image = Image.fromarray((mask == 0).astype(np.uint8))
            image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(path)
    mask = DynamicDataset(parse(tmp_path, hold_out_cameras=(0,))).get_mask(0)
    assert not mask[:, :8].any() and mask[:, 8:].all()


def test_masks_that_leave_nothing_are_refused(tmp_path):
    write_single(tmp_path)
    write_masks(tmp_path, values=(0, 0))
    with pytest.raises(DatasetError, match=r"masks/\d.png and all other masks are black"):
        parse(tmp_path, hold_out_cameras=(0,))
    parse(tmp_path, hold_out_cameras=(0,), load_masks=False)


def test_masks_that_do_not_fit_are_refused(tmp_path):
    write_single(tmp_path)
    write_masks(tmp_path, missing=4)
    with pytest.raises(DatasetError, match="frame 4: 1 of 6 frames of the file have no `mask_path`"):
        parse(tmp_path, hold_out_cameras=(0,))
    write_masks(tmp_path, size=(12, 16))
    with pytest.raises(ImageSizeError, match=r"masks/0.png is 12x16"):
        parse(tmp_path, hold_out_cameras=(0,))
    write_masks(tmp_path)
    (tmp_path / "masks/3.png").unlink()
    with pytest.raises(MissingFileError, match="frame 3: `mask_path` names .*masks/3.png"):
        parse(tmp_path, hold_out_cameras=(0,))


def test_masks_that_nothing_names_are_told(tmp_path, capsys):
    content = write_single(tmp_path)
    for entry in content["frames"]:
        name = entry["file_path"].replace("images/", "images/dynamic_mask_")
        write_image(tmp_path / name, mode="RGB")
        entry["mask_path"] = name
    parse(tmp_path, hold_out_cameras=(0,))
    assert "dynamic_mask_c0_0.png and 5 more beside the images are not used" in capsys.readouterr().err
    write_json(tmp_path / "transforms.json", content)
    parse(tmp_path, hold_out_cameras=(0,))
    assert "not used" not in capsys.readouterr().err


def test_alpha_counts_wherever_it_stands(tmp_path, capsys):
    """Of twenty images one has a transparent pixel; the first, last and evenly spaced ones have none."""
    write_scene(tmp_path, cameras=5, frames=5, observed=5, mode="RGB")
    assert not scene_of(parse(tmp_path).metadata).has_alpha
    for path in (tmp_path / "train").glob("*.png"):
        Image.open(path).convert("RGBA").save(path)
    assert not scene_of(parse(tmp_path).metadata).has_alpha
    write_image(tmp_path / "train/c01_f003.png", mode="RGBA")
    assert scene_of(parse(tmp_path).metadata).has_alpha
    assert "c01_f003.png, …): alpha counts" in capsys.readouterr().err


def test_images_that_exif_turns_are_told(tmp_path, capsys):
    content = write_single(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / content["frames"][3]["file_path"]
    Image.open(path).save(path.with_suffix(".jpg"), exif=exif)
    content["frames"][3]["file_path"] = "images/c1_1.jpg"
    write_json(tmp_path / "transforms.json", content)
    outputs = parse(tmp_path, hold_out_cameras=(0,))
    assert outputs.cameras.width.unique().tolist() == [16]
    assert "1 images (c1_1.jpg, …) are turned by their EXIF data" in capsys.readouterr().err


def test_stated_points_are_taken_before_those_by_name(tmp_path):
    write_single(tmp_path, ply_file_path="cloud.ply")
    rng, grey = np.random.default_rng(0), np.full((50, 3), 7, np.uint8)
    write_points(tmp_path / "points3d.ply", rng.uniform(size=(50, 3)).astype(np.float32), grey)
    with pytest.raises(MissingFileError, match="`ply_file_path` names .*cloud.ply"):
        parse(tmp_path, hold_out_cameras=(0,))
    cloud = rng.uniform(size=(50, 3)).astype(np.float32)
    write_points(tmp_path / "cloud.ply", cloud, grey)
    outputs = parse(tmp_path, hold_out_cameras=(0,))
    np.testing.assert_allclose(outputs.metadata["points3D_xyz"].numpy(), cloud, atol=1e-6)


def test_what_is_not_used_is_told_in_one_line(tmp_path):
    content = write_single(tmp_path, aabb_scale=16, applied_scale=2.5, offset=[0, 0, 0], k1=0.0)
    for entry in content["frames"]:
        entry |= {
            "sharpness": 3.0,
            "colmap_im_id": 1,
            "depth_file_path": "d.png",
            "flame_param_path": "x.npz",
            "mask": "m.png",
            "skew": 0.0,
        }
    content["projection"] = "equirectangular"
    content["test_filenames"] = ["images/c0_0.png", "images/c0_1.png"]
    write_json(tmp_path / "transforms.json", content)
    (line,) = [note for note in describe(tmp_path).notes if note.startswith("not used")]
    for key in ("applied_scale", "depth_file_path", "flame_param_path", "mask", "projection"):
        assert f"`{key}`" in line
    for key in ("aabb_scale", "offset", "sharpness", "colmap_im_id", "k1", "skew", "time", "test_filenames"):
        assert f"`{key}`" not in line


def test_left_over_files_are_no_evaluation(tmp_path):
    write_scene(tmp_path)
    (tmp_path / "transforms_old.json").write_text((tmp_path / "transforms_train.json").read_text())
    assert Counter(scene_of(parse(tmp_path, "test").metadata).source_files) == {"val": 9, "test": 15}
    assert any("not read: transforms_old.json" in note for note in describe(tmp_path).notes)


def test_one_name_for_two_images_is_told(tmp_path):
    write_scene(tmp_path, mode="RGB")
    for name in ("c00_f000", "c01_f002"):
        write_image(tmp_path / f"train/{name}.jpg", mode="RGB")
    (note,) = [note for note in describe(tmp_path).notes if "`file_path`" in note]
    assert "c00_f000.png is taken, and so with 1 other names" in note


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_use_12_of_16_bits_are_scaled_and_told(tmp_path, capsys, channels):
    write_single(tmp_path)
    for path in sorted((tmp_path / "images").iterdir()):
        pixels = np.asarray(Image.open(path))[..., :channels].squeeze()
        cv2.imwrite(str(path), (pixels // 2).astype(np.uint16) * 16)
    # All splits together: one frame to evaluate on tells how many bits there are.
    cv2.imwrite(str(tmp_path / "images/c2_1.png"), np.full((12, 16), 4095, np.uint16))
    outputs = parse(tmp_path, hold_out_cameras=(2,))
    image = DynamicDataset(outputs).get_numpy_image(0)
    expected = cv2.imread(str(outputs.image_filenames[0]), cv2.IMREAD_UNCHANGED).reshape(12, 16, channels)
    np.testing.assert_array_equal(image[..., ::-1], np.broadcast_to(expected // 16, (12, 16, 3)))
    assert "of images of 16 bits 12 are used" in capsys.readouterr().err
