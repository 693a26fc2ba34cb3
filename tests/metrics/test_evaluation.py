"""Sums over frames by split and by file."""

import json
import math

import pytest

from dyn3d_ns.metrics.evaluation import FrameScore, summarize


def score(split, source, error, lpips=None, seconds=0.5):
    return FrameScore("f.png", 3, 0.25, split, source, error, 0.9, lpips or {}, seconds, 1000)


SCORES = [
    score("interp", "val", 1e-3),
    score("interp", "val", 4e-3),
    score("interp", "test", 9e-3),
    score("future", "test", 1e-2, seconds=1.5),
]


def db(*errors):
    return -10 * math.log10(sum(errors) / len(errors))


def test_groups():
    result = summarize(SCORES, with_std=True)
    assert result["interp_psnr"] == pytest.approx(db(1e-3, 4e-3, 9e-3))
    assert result["interp_psnr_mean"] == pytest.approx((db(1e-3) + db(4e-3) + db(9e-3)) / 3)
    assert result["future_psnr"] == pytest.approx(db(1e-2))
    assert result["val_psnr"] == pytest.approx(db(1e-3, 4e-3))
    assert result["test_psnr"] == pytest.approx(db(9e-3, 1e-2))
    assert (result["interp_images"], result["test_images"]) == (3, 2)


def test_nerfstudio_keys():
    result = summarize(SCORES, with_std=True)
    assert result["psnr"] == pytest.approx((db(1e-3) + db(4e-3) + db(9e-3) + db(1e-2)) / 4)
    assert result["ssim"] == pytest.approx(0.9)
    assert result["ssim_std"] == pytest.approx(0.0, abs=1e-12)
    assert result["num_rays_per_sec"] == pytest.approx((3 * 2000 + 1000 / 1.5) / 4)
    assert result["fps"] == pytest.approx((3 * 2 + 1 / 1.5) / 4)
    # Frames per second of the whole run: four frames in three seconds.
    assert result["frames_per_second"] == pytest.approx(4 / 3)
    assert "psnr_std" not in summarize(SCORES, with_std=False)


def test_one_source_is_not_repeated():
    result = summarize([score("interp", "test", 1e-3), score("future", "test", 1e-3)], with_std=False)
    assert "test_psnr" not in result


def test_lpips_appears_where_measured():
    scores = [
        score("interp", "val", 1e-3, {"alex": 0.1, "vgg": 0.3}),
        score("future", "test", 1e-3, {"alex": 0.2, "vgg": 0.5}),
    ]
    result = summarize(scores, with_std=False)
    assert result["lpips"] == pytest.approx(0.15)
    assert result["future_lpips_vgg"] == pytest.approx(0.5)
    assert scores[0].to_dict()["lpips_vgg"] == 0.3
    assert "lpips" not in summarize(SCORES, with_std=False)


def test_results_are_json():
    json.dumps(summarize(SCORES, with_std=True), allow_nan=False)
    json.dumps(score("interp", "val", 0.0).to_dict(), allow_nan=False)


def test_no_frames():
    with pytest.raises(ValueError, match="no evaluation frame"):
        summarize([], with_std=False)
