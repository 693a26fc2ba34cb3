"""Values and gradients of the CPU rasteriser against a float64 brute force, in every mode."""

import pytest
from raster_helpers import compare, scene


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("background", [False, True])
def test_render_modes(mode, background):
    # expected depth divides by alpha = 1 - T, whose rounding shows where alpha is small (gsplat does the
    # same)
    tolerance = 2e-5 if "ED" in mode else 5e-6
    compare(scene(seed=1, background=background), image_tolerance=tolerance, render_mode=mode)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 11, 17, 32, 40])
def test_channels(channels):
    compare(scene(n=25, channels=channels, seed=channels))


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree):
    compare(scene(sh=degree, seed=degree), grad_tolerance=3e-5)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
def test_camera_models(model, mode):
    arguments = scene(seed=7, cameras=2)
    if model == "ortho":
        arguments["Ks"] = arguments["Ks"].clone()
        arguments["Ks"][:, [0, 1], [0, 1]] *= 0.6
    compare(arguments, camera_model=model, rasterize_mode=mode, render_mode="RGB+D")


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("tight", [False, True])
def test_radius_rules(tight, mode):
    compare(scene(seed=3, n=60), tight=tight, rasterize_mode=mode)


@pytest.mark.parametrize("packed", [False, True])
def test_several_cameras_with_colors_of_their_own(packed):
    import torch

    arguments = scene(seed=5, cameras=3)
    arguments["colors"] = torch.rand(3, *arguments["colors"].shape)
    compare(arguments, packed=packed)


def test_sub_pixel_and_huge_gaussians():
    compare(scene(seed=11, size=0.002, n=80), rasterize_mode="antialiased")
    compare(scene(seed=12, size=1.5, n=30))


def test_deep_stack_that_goes_opaque():
    compare(scene(seed=13, n=300, size=0.2, width=37, height=29), render_mode="RGB+D")


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_covars(mode):

    import raster_reference as reference

    arguments = scene(seed=9)
    M = reference.rotation(arguments.pop("quats")) * arguments.pop("scales")[:, None, :]
    covars = (M @ M.transpose(-1, -2)).contiguous()
    compare({**arguments, "quats": None, "scales": None, "covars": covars}, rasterize_mode=mode)
