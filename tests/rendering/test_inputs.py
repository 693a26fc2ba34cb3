"""Bad inputs give an error that names the argument; borderline ones a correct, finite result."""

import itertools
import math

import pytest
import torch
from raster_helpers import compare, gradients, leaves, scene, whole_covars

from dyn3d_ns.rendering import rasterize

NAN, INF = float("nan"), float("inf")


def _with(index, value):
    """Return a change that puts one value into a copy of a tensor."""

    def change(tensor):
        tensor = tensor.clone()
        tensor[index] = value
        return tensor

    return change


def _number(value):
    return lambda _: value


WRONG = [
    ("means", lambda v: v[:, :2], r"\(5, 2\)"),
    ("means", lambda v: v[0], r"\(3,\)"),
    ("means", lambda v: v.double(), "float64"),
    ("means", lambda v: v.half(), "float16"),
    ("means", lambda v: v.numpy(), "ndarray"),
    ("means", _number(None), "NoneType"),
    ("means", _with((3, 1), NAN), r"\(3, 1\)"),
    ("means", lambda v: v.to("meta"), "meta"),
    ("quats", lambda v: v[:-1], r"\(4, 4\)"),
    ("quats", lambda v: v[:, :3], r"\(5, 3\)"),
    ("quats", _number(None), "NoneType"),
    ("quats", _with((0, 0), INF), "infinite"),
    ("scales", lambda v: v.double(), "float64"),
    ("scales", lambda v: v[:, 0], r"\(5,\)"),
    ("scales", _number(None), "NoneType"),
    ("scales", _with((4, 2), -INF), r"\(4, 2\)"),
    ("opacities", lambda v: v[:, None], r"\(5, 1\)"),
    ("opacities", lambda v: v[:3], r"\(3,\)"),
    ("opacities", _with(2, NAN), r"\(2,\)"),
    ("colors", lambda v: v * NAN, "15 NaN"),
    ("colors", lambda v: v[:4], r"\(4, 3\)"),
    ("colors", lambda v: v[None].expand(2, 5, 3), r"\(2, 5, 3\)"),
    ("colors", lambda v: v[:, :0], "channel"),
    ("colors", lambda v: v[:, 0], r"\(5,\)"),
    ("colors", _number("red"), "str"),
    ("colors", lambda v: (v * 255).byte(), "uint8"),
    ("viewmats", lambda v: v[0], r"\(4, 4\)"),
    ("viewmats", lambda v: v[:, :3], r"\(1, 3, 4\)"),
    ("viewmats", lambda v: v[:0], "no camera"),
    ("viewmats", lambda v: v * 0, "singular"),
    ("viewmats", _with((0, 3, 3), 0.0), "singular"),
    ("viewmats", _with((0, 0), 0.0), "singular"),
    ("viewmats", _with((0, 0, 3), NAN), "NaN"),
    ("Ks", lambda v: v[0], r"\(3, 3\)"),
    ("Ks", lambda v: v.expand(2, 3, 3), r"\(2, 3, 3\)"),
    ("Ks", _with((0, 1, 1), 0.0), "focal"),
    ("Ks", _with((0, 0, 2), INF), "infinite"),
    ("backgrounds", lambda v: v[:, :2], r"\(1, 2\)"),
    ("backgrounds", lambda v: v[0], r"\(3,\)"),
    ("backgrounds", _with((0, 0), NAN), "NaN"),
    ("width", _number(-1), "-1"),
    ("width", _number(50.5), "50.5"),
    ("width", _number(None), "None"),
    ("height", _number("38"), "38"),
    ("height", _number(-3), "-3"),
    ("near_plane", _number(NAN), "nan"),
    ("far_plane", _number(None), "None"),
    ("radius_clip", _number("none"), "none"),
    ("eps2d", _number(-0.1), "-0.1"),
    ("eps2d", _number(INF), "inf"),
    ("channel_chunk", _number(0), "0"),
    ("tile_size", _number(0), "0"),
    ("tile_size", _number(2.5), "2.5"),
    ("sh_degree", _number(0), r"colors|coefficient"),
    ("render_mode", _number("rgb"), "'RGB'"),
    ("rasterize_mode", _number("smooth"), "'antialiased'"),
    ("camera_model", _number("spherical"), "'fisheye'"),
    ("tile_mask", _number(torch.ones(1, 2, 4, dtype=torch.bool)), r"\[1, 2, 4\].*\[1, 3, 4\]"),
    ("tile_mask", _number(torch.ones(1, 3, 4)), "float32"),
    ("tile_mask", _number([True]), "list"),
    ("radius_rule", _number("round"), "'tight'"),
    ("backend", _number("torch"), "'gsplat'"),
    ("backend", _number("gsplat"), "CUDA"),
    ("distributed", _number(True), "distributed=False"),
]


@pytest.mark.parametrize(("name", "change", "detail"), WRONG)
def test_errors_name_the_argument(name, change, detail):
    a = scene(n=5)
    a[name] = change(a.get(name))
    with pytest.raises(ValueError, match=f"{name}|colors" if name == "sh_degree" else name) as caught:
        rasterize(**a)
    assert caught.match(detail)


@pytest.mark.parametrize(
    ("degree", "detail"), [(4, "16 of|25 of"), (5, "0 to 4"), (-1, "0 to 4"), (1.5, "1.5"), ("2", "'2'")]
)
def test_errors_of_harmonics(degree, detail):
    a = scene(n=5, sh=1)  # with 6 coefficients
    a["sh_degree"] = degree
    with pytest.raises(ValueError, match=detail):
        rasterize(**a)


def test_errors_of_covars():
    a = whole_covars(scene(n=5))
    for bad in (a["covars"][:4], a["covars"][:, :2], a["covars"] * NAN):
        with pytest.raises(ValueError, match="covars"):
            rasterize(**{**a, "covars": bad})


def test_options_may_be_numbers_of_numpy_and_torch():
    import numpy as np

    a = scene(n=5)
    expected = rasterize(**a, near_plane=0.5)[0]
    a |= {"width": np.int64(a["width"]), "height": torch.tensor(a["height"])}
    assert torch.equal(rasterize(**a, near_plane=np.float32(0.5))[0], expected)


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("packed", [False, True])
def test_no_gaussians(packed, mode):
    a = leaves(scene(n=0, cameras=2))
    image, alphas, info = rasterize(**a, packed=packed, render_mode=mode)
    channels = {"RGB": 3, "D": 1, "ED": 1}.get(mode, 4)
    assert image.shape == (2, a["height"], a["width"], channels) and not alphas.any()
    if channels > 1:
        assert torch.equal(image[..., :3], a["backgrounds"][:, None, None].expand_as(image[..., :3]))
    if channels != 3:
        assert not image[..., -1].any()
    assert info["means2d"].shape == ((0, 2) if packed else (2, 0, 2))
    (image.sum() + alphas.sum()).backward()
    for name in ("means", "quats", "scales", "opacities"):
        assert a[name].grad is None or a[name].grad.shape == a[name].shape
    if mode == "RGB":
        assert (a["backgrounds"].grad == a["width"] * a["height"]).all()


@pytest.mark.parametrize("size", [(0, 38), (50, 0), (0, 0)])
@pytest.mark.parametrize("packed", [False, True])
def test_no_pixels(packed, size):
    a = leaves(scene(n=4))
    a["width"], a["height"] = size
    image, alphas, _ = rasterize(**a, packed=packed, render_mode="RGB+ED")
    assert image.shape == (1, size[1], size[0], 4) and alphas.shape == (1, size[1], size[0], 1)
    (image.sum() + alphas.sum()).backward()
    assert all(not g.any() for g in gradients(a).values())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (16, 16), (17, 15)])
def test_odd_image_sizes(size):
    compare(scene(n=20, width=size[0], height=size[1]))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
def test_any_number_of_gaussians(n):
    compare(scene(n=n, seed=n, cameras=2, sh=1), packed=True, rasterize_mode="antialiased")


def test_all_gaussians_behind_the_camera():
    a = leaves(scene(n=20))
    with torch.no_grad():
        a["means"][:, 2] -= 10.0
    image, alphas, info = rasterize(**a, render_mode="RGB+ED")
    (image.sum() + alphas.sum()).backward()
    assert not alphas.any() and not info["gaussian_ids"].numel()
    assert all(not g.any() for name, g in gradients(a).items() if name != "backgrounds")


def test_gaussians_that_straddle_the_camera():
    """Centres just before and behind the near plane, extents on both sides of it."""
    a = scene(n=12, size=0.4)
    a["viewmats"][0, :3, :3] = torch.eye(3)
    a["means"][:, 2] = torch.linspace(-0.03, 0.05, 12) - a["viewmats"][0, 2, 3]
    a["means"][:, :2] *= 0.05
    # so near, a Gaussian is hundreds of images wide and its exponent the difference of large numbers
    _, info = compare(a, image_tolerance=5e-5, grad_tolerance=1e-3, near_plane=0.01)
    assert 0 < int((info["radii"] > 0).sum()) < 12


def test_opacity_exactly_0_and_1():
    a = scene(n=30, seed=8, background=False)
    a["opacities"][:10], a["opacities"][10:20] = 0.0, 1.0
    compare(a)
    low = leaves(a)
    rasterize(**low)[0].sum().backward()
    assert not low["opacities"].grad[:10].any()  # as in gsplat: what is below 1/255 is not there
    alone = {**a, **{k: a[k][10:11] for k in ("means", "quats", "scales", "opacities", "colors")}}
    assert 0.9 < float(rasterize(**alone)[1].max()) <= 0.999 + 1e-6


EXTREMES = {
    "huge scale": ("scales", 1e7),
    "infinitesimal scale": ("scales", 1e-30),
    "zero scale": ("scales", 0.0),
    "needle": ("scales", torch.tensor([1e6, 1e-6, 1e-6])),
    "overflowing scale": ("scales", 1e25),
    "negative scale": ("scales", -0.1),
    "far away": ("means", 1e30),
    "zero quaternion": ("quats", 0.0),
    "short quaternion": ("quats", torch.tensor([1e-12, 1e-12, 0, 0])),
    "long quaternion": ("quats", torch.tensor([0, 1e12, 1e12, 0])),
    "opacity above 1": ("opacities", 1e10),
    "negative opacity": ("opacities", -1.0),
    "bright colour": ("colors", 1e30),
}


@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_values_stay_finite(extreme):
    name, value = EXTREMES[extreme]
    cases = itertools.product(
        ("classic", "antialiased"), ("pinhole", "ortho", "fisheye"), ("square", "tight"), (0.0, 0.3)
    )
    for mode, model, rule, eps2d in cases:
        a = scene(n=20, seed=5)
        a[name][7] = value
        a = leaves(a)
        image, alphas, info = rasterize(
            **a, rasterize_mode=mode, camera_model=model, radius_rule=rule, eps2d=eps2d, packed=False,
            render_mode="RGB+ED",
        )  # fmt: skip
        (image.sum() + alphas.sum()).backward()
        assert image.isfinite().all() and ((alphas >= 0) & (alphas <= 1)).all()
        assert all(info[k].isfinite().all() for k in ("means2d", "depths", "conics", "opacities"))
        for leaf, gradient in gradients(a).items():
            assert gradient.isfinite().all(), (leaf, mode, model, rule, eps2d)


def test_huge_gaussians_cover_the_image():
    a = scene(n=1, background=False)
    a["opacities"][:], a["scales"][:] = 0.6, 1e7
    assert torch.allclose(rasterize(**a)[1], torch.tensor(0.6))


def test_planes_without_bounds():
    a = scene(n=20, seed=5)
    compare(a, far_plane=math.inf)
    compare(a, camera_model="ortho", near_plane=-math.inf)
    behind = {**a, "viewmats": _with((0, 2, 3), -2.0)(a["viewmats"])}
    _, info = compare(behind, camera_model="ortho", near_plane=-10.0, render_mode="RGB+D")
    assert (info["depths"][info["radii"] > 0] < 0).all() and (info["radii"] > 0).any()


def test_inputs_of_any_layout_are_left_alone():
    """Strided, expanded and shared tensors give the same numbers and are not written to."""
    a = scene(n=30, cameras=2)
    want = rasterize(**a)[0]
    strided = {
        **a,
        "means": a["means"].T.contiguous().T,
        "quats": torch.stack([a["quats"], a["quats"]], -1)[..., 0],
        "colors": a["colors"].flip(1).flip(1),
        "Ks": a["Ks"][:1].expand(2, 3, 3),
    }
    before = {k: v.clone() for k, v in strided.items() if isinstance(v, torch.Tensor)}
    low = leaves(strided)
    assert torch.equal(rasterize(**strided)[0], want)
    rasterize(**low)[0].sum().backward()
    assert all(torch.equal(strided[k], v) for k, v in before.items())


def test_gradients_of_a_gradient_are_refused():
    a = leaves(scene(n=5))
    first = torch.autograd.grad(rasterize(**a)[0].square().sum(), a["means"], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable|differentiat"):
        first.sum().backward()


@pytest.mark.parametrize(
    "name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds"]
)
def test_one_gradient_alone(name):
    """Each gradient is the same whether the others are asked for or not."""
    a = scene(n=20, cameras=2, sh=2)
    every = leaves(a)
    rasterize(**every, render_mode="RGB+D")[0].square().sum().backward()
    one = {**a, name: a[name].clone().requires_grad_()}
    rasterize(**one, render_mode="RGB+D")[0].square().sum().backward()
    torch.testing.assert_close(one[name].grad, every[name].grad, rtol=0, atol=0)


def test_without_gradients_nothing_is_recorded():
    a = leaves(scene(n=5))
    with torch.no_grad():
        image, _, info = rasterize(**a)
    assert not image.requires_grad and not info["means2d"].requires_grad
    with torch.inference_mode():
        assert torch.equal(rasterize(**scene(n=5))[0], image)


def test_the_same_backward_twice():
    a = leaves(scene(n=10))
    loss = rasterize(**a)[0].sum()
    loss.backward(retain_graph=True)
    once = {k: v.clone() for k, v in gradients(a).items()}
    loss.backward()
    for name, gradient in gradients(a).items():
        assert torch.equal(gradient, 2 * once[name]), name


def test_view_matrices_that_scale():
    """Not only rigid ones: gsplat takes any, and Nerfstudio's scene scale may be part of one."""
    a = scene(n=30, cameras=2, sh=2)
    a["viewmats"][0, :3] *= 2.0
    a["viewmats"][1, 0, :3] *= 1.3
    compare(a, rasterize_mode="antialiased", render_mode="RGB+D")


def test_a_finished_step_leaves_nothing_behind():
    """No reference cycle holds an image or its graph once they are dropped."""
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        for packed in (False, True):
            a = leaves(scene(n=10))
            image, alphas, info = rasterize(**a, packed=packed, absgrad=True)
            assert info["radii"].numel()
            image.sum().backward()
            dropped = [weakref.ref(image), weakref.ref(info["means2d"]), weakref.ref(info)]
            del image, alphas, info
            assert [d() for d in dropped] == [None] * 3
    finally:
        gc.enable()
