"""Values and gradients of the CPU rasteriser against a float64 brute force, in every mode."""

import pytest
import raster_reference as reference
import torch
from raster_helpers import compare, scene, whole_covars

MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("background", [False, True])
def test_render_modes(mode, background):
    compare(scene(seed=1, background=background), render_mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
@pytest.mark.parametrize("tight", [False, True])
def test_modes_cameras_and_radii_together(mode, rasterize_mode, model, tight):
    arguments = scene(seed=17, n=30, cameras=2, sh=2, width=41, height=35)
    compare(
        arguments, render_mode=mode, rasterize_mode=rasterize_mode,
        camera_model=model, tight=tight, packed=tight,
    )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 32])
def test_channels(channels):
    compare(scene(n=25, channels=channels, seed=channels))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [5, 6, 7, 11, 12, 16, 17, 24, 25, 31, 33, 40])
def test_every_channel_count(channels):
    compare(scene(n=25, channels=channels, seed=channels), render_mode="RGB+D")


@pytest.mark.parametrize("mode", ["RGB", "RGB+D", "RGB+ED"])
def test_more_channels_than_a_chunk(mode):
    compare(scene(n=20, channels=7), channel_chunk=3, render_mode=mode)


@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree, cameras):
    compare(scene(sh=degree, seed=degree, cameras=cameras))


def test_harmonics_of_each_camera_and_unused_bands():
    arguments = scene(sh=3, seed=4, cameras=3)
    arguments["sh_degree"] = 1
    arguments["colors"] = arguments["colors"] + 0.2 * torch.rand(3, *arguments["colors"].shape)
    compare(arguments, packed=True)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
def test_camera_models(model, mode):
    arguments = scene(seed=7, cameras=2)
    if model == "ortho":
        arguments["Ks"] = arguments["Ks"].clone()
        arguments["Ks"][:, [0, 1], [0, 1]] *= 0.6
    compare(arguments, camera_model=model, rasterize_mode=mode, render_mode="RGB+D")


def test_wide_views_clamp_the_jacobian():
    arguments = scene(seed=21, n=60, spread=5.0, size=0.3)
    arguments["Ks"] = arguments["Ks"].clone()
    arguments["Ks"][:, [0, 1], [0, 1]] *= 0.35
    *_, info = compare(arguments, near_plane=0.3)
    u, v = info["means2d"][0][info["radii"][0] > 0].detach().unbind(-1)
    outside = (u < -0.15 * 50) | (u > 1.15 * 50) | (v < -0.15 * 38) | (v > 1.15 * 38)
    assert int(outside.sum()) >= 3  # the clamp is at work


def test_fisheye_beyond_and_near_the_axis():
    arguments = scene(seed=22, n=60, spread=3.5)
    arguments["means"][:4, :2] *= torch.tensor([[1e-2], [1e-3], [1e-4], [1e-5]])
    arguments["viewmats"][0, :3, :3] = torch.eye(3)
    arguments["viewmats"][0, :2, 3] = 0
    compare(arguments, camera_model="fisheye", near_plane=0.05)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("tight", [False, True])
def test_radius_rules(tight, mode):
    compare(scene(seed=3, n=60), tight=tight, rasterize_mode=mode)


def test_the_two_radius_rules_differ():
    arguments = scene(seed=3, n=60)
    arguments["opacities"] *= 0.1
    square, tight = (compare(arguments, tight=rule)[1]["radii"] for rule in (False, True))
    assert square.float().mean() > 1.2 * tight.float().mean()


@pytest.mark.parametrize(
    ("options", "fewer"),
    [
        ({"near_plane": 1.8}, True),
        ({"far_plane": 1.8}, True),
        ({"radius_clip": 6.0}, True),
        ({"eps2d": 0.0}, False),
        ({"eps2d": 2.0}, False),
        ({"near_plane": 1.6, "far_plane": 2.0, "radius_clip": 4.0, "eps2d": 0.1}, True),
    ],
)
@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_planes_clips_and_blur(options, fewer, tight, mode):
    arguments = scene(seed=31, n=60, cameras=2)
    _, info = compare(arguments, tight=tight, rasterize_mode=mode, **options)
    _, everything = compare(arguments, tight=tight, rasterize_mode=mode)
    left, all_of_them = int((info["radii"] > 0).sum()), int((everything["radii"] > 0).sum())
    assert left < all_of_them if fewer else left == all_of_them


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "D"])
def test_several_cameras_with_colors_of_their_own(packed, mode):
    arguments = scene(seed=5, cameras=3)
    arguments["colors"] = torch.rand(3, *arguments["colors"].shape)
    compare(arguments, packed=packed, render_mode=mode)


@pytest.mark.parametrize("options", [{"sparse_grad": True}, {"absgrad": True}, {"tile_size": 7}])
@pytest.mark.parametrize("packed", [False, True])
def test_options_that_change_no_numbers(options, packed):
    arguments = scene(seed=6, cameras=2, spread=3.0, sh=1)
    compare(arguments, packed=packed, rasterize_mode="antialiased", **options)


def test_sub_pixel_and_huge_gaussians():
    compare(scene(seed=11, size=0.002, n=80), rasterize_mode="antialiased")
    compare(scene(seed=12, size=1.5, n=30))


def test_needles_and_discs():
    arguments = scene(seed=14, n=40)
    arguments["scales"][:20, 0] *= 8.0
    arguments["scales"][:20, 1:] *= 0.01
    arguments["scales"][20:, 0] *= 1e-3
    # a needle's exponent is a difference of squares hundreds of times its size
    compare(arguments, image_tolerance=2e-5, grad_tolerance=1e-4)


@pytest.mark.parametrize("mode", ["ED", "RGB+ED"])
@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
def test_expected_depth_where_alpha_is_small(mode, model):
    """Few, faint and small Gaussians: the gradient is a small difference of depths, over a small alpha."""
    for seed in range(4):
        arguments = scene(n=8, seed=seed, size=0.01, spread=0.7)
        arguments["opacities"] = 0.01 + 0.05 * arguments["opacities"]
        arguments["viewmats"][:, 2, 3] += 8.0
        arguments["Ks"][:, (0, 1), (0, 1)] *= 4.0
        compare(arguments, render_mode=mode, camera_model=model)


def test_deep_stack_that_goes_opaque():
    compare(scene(seed=13, n=300, size=0.2, width=37, height=29), render_mode="RGB+D")


def test_quaternions_of_any_length():
    arguments = scene(seed=15)
    arguments["quats"] *= torch.logspace(-3, 3, len(arguments["quats"]))[:, None]
    compare(arguments)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("packed", [False, True])
def test_covars(mode, packed):
    compare(whole_covars(scene(seed=9, cameras=2)), rasterize_mode=mode, packed=packed)


def test_covars_equal_quats_and_scales():
    arguments = scene(seed=10)
    from dyn3d_ns.rendering import rasterize

    torch.testing.assert_close(
        rasterize(**whole_covars(arguments))[0], rasterize(**arguments)[0], rtol=0, atol=2e-6
    )


def test_absgrad_is_that_of_the_reference():
    """The absolute pixel gradients, one backward a pixel through the float64 blend."""
    arguments = scene(n=6, seed=2, background=False, width=21, height=18, size=0.2)
    target = torch.rand(1, 18, 21, 3, generator=torch.Generator().manual_seed(0))
    _, info = compare(arguments, absgrad=True, weights=target)
    high = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    uv, conics, depths, _, radii = reference.project(
        high["means"], high["quats"], high["scales"], high["opacities"], high["viewmats"][0], high["Ks"][0],
        21, 18,
    )  # fmt: skip
    uv.requires_grad_()
    image, _ = reference.blend(uv, conics, high["opacities"], high["colors"], depths, radii, 21, 18)
    pixels = (image * target[0]).sum(-1).reshape(-1)
    total = sum(torch.autograd.grad(p, uv, retain_graph=True)[0].abs() for p in pixels)
    torch.testing.assert_close(info["means2d"].absgrad[0].double(), total, rtol=1e-4, atol=1e-5)


def test_thousands_in_many_tiles():
    """Lists of several chunks a tile, some tiles opaque and some open, over two cameras."""
    compare(scene(seed=41, n=700, size=0.06, width=70, height=45, cameras=2), render_mode="RGB+D")


def test_equal_depths_go_by_index():
    """As in gsplat: of Gaussians at one depth, the first is in front."""
    arguments = scene(seed=42, n=30, size=0.2)
    arguments["viewmats"] = torch.eye(4)[None]
    arguments["means"][:, 2] = 0.5
    arguments["Ks"] = arguments["Ks"] * torch.tensor([0.6, 0.6, 1.0])[:, None]
    compare(arguments, camera_model="ortho")


def test_depths_on_both_sides_of_zero_are_in_order():
    arguments = scene(seed=43, n=40, size=0.15)
    arguments["viewmats"][0, 2, 3] = 0.0
    _, info = compare(arguments, camera_model="ortho", near_plane=-5.0, render_mode="RGB+D")
    seen = info["depths"][info["radii"] > 0]
    assert 5 < int((seen < 0).sum()) < len(seen) - 5


def test_cameras_unlike_each_other():
    arguments = scene(seed=44, n=40, cameras=4, sh=1)
    arguments["Ks"] = arguments["Ks"] * torch.tensor([0.4, 1.0, 1.7, 3.0])[:, None, None]
    arguments["Ks"][:, 2, 2] = 1.0
    arguments["Ks"][:, 0, 2] = torch.tensor([25.0, 10.0, 55.0, 30.0])
    arguments["Ks"][:, 1, 2] = torch.tensor([19.0, 30.0, 10.0, -5.0])
    compare(arguments, packed=True)
