"""Sums over frames by split and by file."""

import json
import math
from dataclasses import replace

import pytest
import torch

from dyn3d_ns.metrics.evaluation import FrameScore, RegionError, eval_results, region_errors, summarize


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
    # Half a second is the median of three halves and one and a half, the first image of a process.
    assert result["frames_per_second"] == pytest.approx(2.0)
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


def test_regions_are_pooled_over_their_pixels():
    """A frame with a small moving part counts less than one with a large part; one without any, nothing."""
    still = RegionError(1e-4, 100)
    scores = [
        replace(SCORES[0], mse_by_region={"static": still, "dynamic": RegionError(1e-2, 30)}),
        replace(SCORES[1], mse_by_region={"static": still, "dynamic": RegionError(4e-2, 10)}),
        replace(SCORES[2], mse_by_region={"static": still}),
        SCORES[3],
    ]
    result = summarize(scores, with_std=False)
    assert result["interp_static_psnr"] == pytest.approx(40)
    assert result["interp_dynamic_psnr"] == pytest.approx(db((30 * 1e-2 + 10 * 4e-2) / 40))
    assert "future_dynamic_psnr" not in result
    assert scores[1].to_dict()["dynamic_psnr"] == pytest.approx(db(4e-2))


def test_errors_of_regions():
    prediction, mask = torch.zeros(4, 5, 3), torch.zeros(4, 5, 1, dtype=torch.bool)
    mask[1, 2:4] = True
    target = torch.where(mask, 0.5, 0.1).expand(4, 5, 3)
    found = region_errors(prediction, target, mask)
    assert found["dynamic"].mse == pytest.approx(0.25) and found["dynamic"].pixels == 2
    assert found["static"].mse == pytest.approx(0.01) and found["static"].pixels == 18
    assert set(region_errors(prediction, target, torch.zeros_like(mask))) == {"static"}
    assert region_errors(prediction, target, None) == {}


def test_what_a_model_measures_is_averaged_by_split():
    scores = [replace(s, extra={"depth_error": float(i)}) for i, s in enumerate(SCORES)]
    result = summarize(scores, with_std=False)
    assert (result["interp_depth_error"], result["future_depth_error"]) == (1.0, 3.0)
    assert scores[2].to_dict()["depth_error"] == 2.0


def test_reports_are_flat_and_hold_no_null():
    figures = {"psnr": 20.0, "pose": {"ate": 0.1, "ate_percent": None}, "flow": {"all pixels": {"epe": 2.0}}}
    assert eval_results(figures, [{"j": 0.5}]) == {
        "psnr": 20.0,
        "pose_ate": 0.1,
        "flow_all_pixels_epe": 2.0,
        "per_frame": [{"j": 0.5}],
    }
    assert "per_frame" not in eval_results(figures)
