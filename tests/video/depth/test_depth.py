"""Depth from flow, from files and from a network; what is spread, scaled and assumed."""

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.geometry.densify import densify
from dyn3d_ns.geometry.triangulation import FlowView, relative_transform, triangulate_flow
from dyn3d_ns.io.arrays import encode_png
from dyn3d_ns.io.errors import DatasetError, StageError
from dyn3d_ns.io.frame_matching import ClipFrames
from dyn3d_ns.video.depth.given import DepthFiles, HuggingFaceDepth, match_to_cameras, sized_map
from dyn3d_ns.video.depth.matching import best_match, fit_match
from dyn3d_ns.video.depth.moving import StaticFrame, object_disparity, place_objects

HEIGHT, WIDTH = 48, 64
K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1.0]])


def slanted() -> np.ndarray:
    """Return the depth of a plane that comes nearer to the right."""
    return np.tile(np.linspace(4.0, 2.0, WIDTH, dtype=np.float32), (HEIGHT, 1))


def view(depth: np.ndarray, shift: tuple[float, float, float], noise: float = 0.0) -> FlowView:
    """Return the exact flow to a camera that moved by `shift` and turned a little."""
    angle = 0.05
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = shift
    move = relative_transform(np.eye(4), pose)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    points = (
        np.stack(((xs - K[0, 2]) / K[0, 0], (ys - K[1, 2]) / K[1, 1], np.ones_like(xs)), -1)
        * depth[..., None]
    )
    image = (points @ move[:3, :3].T + move[:3, 3]) @ K.T
    flow = image[..., :2] / image[..., 2:] - np.stack((xs, ys), -1)
    flow += np.random.default_rng(0).normal(0, noise, flow.shape) if noise else 0.0
    return FlowView(flow.astype(np.float32), np.ones((HEIGHT, WIDTH), bool), K, move)


def test_exact_flow_gives_exact_depth() -> None:
    depth = slanted()
    found = triangulate_flow(K, [view(depth, (0.3, 0.0, 0.1)), view(depth, (-0.2, 0.1, 0.2))])
    assert (found.weight > 0).all()
    np.testing.assert_allclose(1 / found.value, depth, rtol=1e-3)


def test_one_wrong_view_is_outvoted() -> None:
    depth = slanted()
    wrong = view(depth, (0.3, 0.0, 0.0))
    wrong.flow[10:20, 10:20] += 8.0
    views = [view(depth, (s, 0.05, 0.0), 0.1) for s in (-0.3, -0.2, 0.2, 0.35)]
    found = triangulate_flow(K, [*views, wrong])
    known = found.weight > 0
    error = np.abs(1 / found.value[known] - depth[known]) / depth[known]
    assert known.mean() > 0.9 and np.median(error) < 0.05
    inside = np.zeros_like(known)
    inside[10:20, 10:20] = True
    assert np.median(np.abs(1 / found.value[inside & known] / depth[inside & known] - 1)) < 0.1


def test_a_camera_that_only_turns_tells_no_depth() -> None:
    found = triangulate_flow(K, [view(slanted(), (0.0, 0.0, 0.0))])
    assert not (found.weight > 0).any()


def test_values_spread_up_to_edges_of_colour() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, WIDTH // 2 :] = 255
    value, weight = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    value[4::9, 5], weight[4::9, 5] = 0.5, 1.0
    value[4::9, 60], weight[4::9, 60] = 2.0, 1.0
    spread = densify(value, weight, image)
    assert np.abs(spread[:, : WIDTH // 2 - 4] - 0.5).max() < 0.2
    assert np.abs(spread[:, WIDTH // 2 + 4 :] - 2.0).max() < 0.2
    with pytest.raises(ValueError, match="no measured"):
        densify(value, np.zeros_like(weight), image)


def test_objects_stand_where_they_touch_the_ground() -> None:
    ground = np.repeat(np.linspace(0.2, 1.0, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:30] = True
    value, touches = object_disparity(ground, mask, ~mask)
    assert touches and value == pytest.approx(ground[30, 0], abs=0.02)
    cut = np.zeros_like(mask)
    cut[30:, 20:30] = True
    value, touches = object_disparity(ground, cut, ~cut)
    assert not touches and value > ground[42, 0]
    aside = np.zeros_like(mask)
    aside[10:30, -10:] = True
    assert not object_disparity(ground, aside, ~aside)[1]
    frames = [StaticFrame(ground, ~mask, mask.astype(np.int32) * 3) for _ in range(12)]
    placed = list(place_objects(frames))
    assert len(placed) == 12
    for disparity in placed:
        assert np.ptp(disparity[mask]) == 0.0 and disparity[12, 25] > ground[12, 25]
        np.testing.assert_array_equal(disparity[~mask], ground[~mask])


def test_given_depth_finds_its_scale_or_its_shift() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 8, 300)
    given = 2.5 * true
    given[:30] *= rng.uniform(2, 4, 30)
    plain = best_match(given, true)
    assert plain.model == "scale" and plain.scale == pytest.approx(0.4, rel=0.01)
    shifted = best_match(1 / (0.7 / true + 0.1), true)
    assert shifted.model == "disparity"
    np.testing.assert_allclose(shifted.apply(1 / (0.7 / true + 0.1)), true, rtol=0.01)
    assert best_match(0.7 / true + 0.1, true).model == "inverse"
    assert fit_match(given, true, "none").apply(np.array([2.0, -1.0, np.nan])).tolist() == [2.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="at least 3"):
        fit_match(given[:2], true[:2], "scale")
    with pytest.raises(StageError, match="must be auto"):
        match_to_cameras(lambda i: np.ones((4, 4), np.float32), [(0, np.zeros((1, 2)), np.ones(1))], "metric")


def test_depth_files_of_all_kinds(tmp_path: Path) -> None:
    depth = slanted()
    np.save(tmp_path / "stack.npy", np.stack((depth, depth))[:, None])
    np.savez(tmp_path / "stack.npz", depth=np.stack((depth, depth)))
    folder = tmp_path / "maps"
    folder.mkdir()
    (folder / "0.PNG").write_bytes(encode_png(np.rint(depth * 1000).astype(np.uint16)))
    bad = depth.copy()
    bad[0, 0] = np.nan
    np.save(folder / "1.npy", bad)
    for path in (tmp_path / "stack.npy", tmp_path / "stack.npz", folder):
        files = DepthFiles(path, ClipFrames.counted(2))
        np.testing.assert_allclose(files[0], depth, atol=1e-3)
        assert files[1].shape == depth.shape and files[1].dtype == np.float32
    assert DepthFiles(folder, ClipFrames.counted(2))[1][0, 0] == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.npy", None, "does not exist"),
        ("broken.npy", b"not an array", "not a readable array"),
        ("one.txt", b"1", "expected .npy"),
        ("", None, r"holds no depth \(.npy, "),
    ],
)
def test_depth_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError, match=says):
        DepthFiles(tmp_path / name, ClipFrames.counted(2))


def test_depth_files_must_be_one_a_frame(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.arange(1, 4, dtype=np.float32)[:, None, None] * np.ones((3, 4, 4)))
    with pytest.raises(DatasetError, match="3 depth maps, but the clip has 4 frames"):
        DepthFiles(tmp_path / "stack.npy", ClipFrames.counted(4))
    # A clip that was thinned out takes its frames' from those of the whole video.
    thinned = DepthFiles(tmp_path / "stack.npy", ClipFrames(np.array([0, 2])))
    assert thinned[1][0, 0] == 3 and "3 depth maps are given for 2 frames" in thinned.note


def test_depth_among_other_files_of_a_network(tmp_path: Path) -> None:
    for i in (10, 9):
        np.save(tmp_path / f"frame_{i:04d}.npy", np.full((4, 4), float(i)))
        np.save(tmp_path / f"conf_{i}.npy", np.ones((4, 4)))
    with pytest.raises(StageError, match=r"several series: conf_9.npy … \(2\), frame_0009.npy … \(2\)"):
        DepthFiles(tmp_path, ClipFrames(np.array([9, 10])))
    (tmp_path / "pred_traj.txt").write_text("")
    found = DepthFiles(tmp_path, ClipFrames(np.array([9, 10])))
    assert found[0][0, 0] == 9 and found[1][0, 0] == 10
    assert found.note == "frame_0009.npy … (2) are taken for depth, left out: conf_9.npy … (2)"


def test_the_depth_of_an_archive_goes_by_its_name(tmp_path: Path) -> None:
    depths = np.arange(1, 3, dtype=np.float16)[:, None, None] * np.ones((2, 4, 4), np.float16)
    np.savez(tmp_path / "megasam.npz", images=np.zeros((2, 4, 4, 3), np.uint8), depths=depths)
    assert DepthFiles(tmp_path / "megasam.npz", ClipFrames.counted(2))[1][0, 0] == 2
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 4, 4)), disps=depths)
    with pytest.raises(StageError, match="holds images, disps; the depth must be called depth or depths"):
        DepthFiles(tmp_path / "other.npz", ClipFrames.counted(2))


def test_depth_of_another_proportion_is_refused(tmp_path: Path) -> None:
    assert sized_map(np.ones((288, 512), np.float32), (640, 368), "it").shape == (368, 640), (
        "a network's crop"
    )
    with pytest.raises(StageError, match="it is 512x384, the frames 640x368"):
        sized_map(np.ones((384, 512), np.float32), (640, 368), "it")


def test_hugging_face_model_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip(
        "transformers", reason="the extra nets is not installed: pip install -e '.[nets]'"
    )
    config = transformers.GLPNConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[3, 3],
        strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=8, max_depth=5,
    )  # fmt: skip
    model = transformers.GLPNForDepthEstimation(config)
    model.save_pretrained(tmp_path / "net")
    transformers.GLPNImageProcessor(size_divisor=8).save_pretrained(tmp_path / "net")
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    depth = HuggingFaceDepth(tmp_path / "net")(image, None)
    assert depth.shape == (48, 64) and np.isfinite(depth).all() and depth.min() >= 0
    with pytest.raises(StageError, match="not a folder"):
        HuggingFaceDepth(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StageError, match="cannot be loaded"):
        HuggingFaceDepth(tmp_path / "empty")
