"""Properties that hold for every scene: random ones, with what tends to break rasterisers in them.

The examples are the same in every run (`derandomize`), so that a failure is one that anyone can repeat.
"""

import math

import raster_reference as reference
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from raster_helpers import compare, gradients, leaves

from dyn3d_ns.rendering import rasterize

WIDTH, HEIGHT = 37, 26
PLAIN = settings(
    max_examples=200, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
FEW = settings(PLAIN, max_examples=80)


def _cameras(count, seed, g):
    views = []
    for _ in range(count):
        V = torch.eye(4)
        V[:3, :3] = reference.rotation(torch.randn(1, 4, generator=g))[0]
        V[:3, 3] = torch.tensor([0.0, 0.0, 1.5]) + 0.3 * torch.randn(3, generator=g)
        views.append(V)
    return torch.stack(views)


# name: what it does to one Gaussian, given (arguments, index, camera 0)
ODDITIES = {
    "behind": lambda a, i: _place(a, i, -1.0),
    "at the camera": lambda a, i: _place(a, i, 0.0),
    "just before the near plane": lambda a, i: _place(a, i, 0.00999),
    "just after the near plane": lambda a, i: _place(a, i, 0.01001),
    "far": lambda a, i: _place(a, i, 1e6),
    "opacity 0": lambda a, i: a["opacities"].__setitem__(i, 0.0),
    "opacity 1": lambda a, i: a["opacities"].__setitem__(i, 1.0),
    "opacity 1/255": lambda a, i: a["opacities"].__setitem__(i, 1 / 255),
    "sub-pixel": lambda a, i: a["scales"].__setitem__(i, 1e-7),
    "point": lambda a, i: a["scales"].__setitem__(i, 0.0),
    "huge": lambda a, i: a["scales"].__setitem__(i, 1e4),
    "needle": lambda a, i: a["scales"].__setitem__(i, torch.tensor([3.0, 1e-6, 1e-6])),
    "disc": lambda a, i: a["scales"].__setitem__(i, torch.tensor([1.0, 1.0, 1e-8])),
    "long quaternion": lambda a, i: a["quats"][i].mul_(1e6),
    "short quaternion": lambda a, i: a["quats"][i].mul_(1e-6),
    "plain": lambda a, i: None,
}


def _place(a, i, depth):
    """Put a Gaussian on the axis of camera 0."""
    R, t = a["viewmats"][0, :3, :3], a["viewmats"][0, :3, 3]
    a["means"][i] = R.T @ (torch.tensor([0.0, 0.0, depth]) - t)


@st.composite
def scenes(draw, odd=True, largest=24):
    """Draw keyword arguments of a scene of at most `largest` Gaussians, some odd, before 1 or 2 cameras."""
    n, cameras = draw(st.integers(1, largest)), draw(st.integers(1, 2))
    seed = draw(st.integers(0, 2**20))
    g = torch.Generator().manual_seed(seed)
    size = draw(st.sampled_from([0.003, 0.05, 0.3, 2.0]))
    focal = draw(st.sampled_from([15.0, 40.0]))
    a = {
        "means": draw(st.sampled_from([0.5, 1.0, 3.0])) * torch.randn(n, 3, generator=g),
        "quats": torch.randn(n, 4, generator=g),
        "scales": size * torch.exp(torch.randn(n, 3, generator=g)),
        "opacities": torch.rand(n, generator=g),
        "colors": torch.rand(n, 3, generator=g),
        "viewmats": _cameras(cameras, seed, g),
        "Ks": torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]).repeat(cameras, 1, 1),
        "width": WIDTH,
        "height": HEIGHT,
        "backgrounds": torch.rand(cameras, 3, generator=g),
    }
    if odd:
        for name in draw(st.lists(st.sampled_from(sorted(ODDITIES)), max_size=6)):
            ODDITIES[name](a, draw(st.integers(0, n - 1)))
    return a


OPTIONS = st.fixed_dictionaries(
    {
        "render_mode": st.sampled_from(["RGB", "RGB+D", "RGB+ED"]),
        "rasterize_mode": st.sampled_from(["classic", "antialiased"]),
        "camera_model": st.sampled_from(["pinhole", "ortho", "fisheye"]),
        "radius_rule": st.sampled_from(["square", "tight"]),
    }
)


def everything_odd():
    """Return a scene in which each oddity occurs once."""
    g = torch.Generator().manual_seed(0)
    n = len(ODDITIES)
    a = {
        "means": 0.3 * torch.randn(n, 3, generator=g),
        "quats": torch.randn(n, 4, generator=g),
        "scales": 0.1 * torch.rand(n, 3, generator=g),
        "opacities": torch.rand(n, generator=g),
        "colors": torch.rand(n, 3, generator=g),
        "viewmats": _cameras(1, 0, g),
        "Ks": torch.tensor([[[30.0, 0, WIDTH / 2], [0, 30.0, HEIGHT / 2], [0, 0, 1]]]),
        "width": WIDTH,
        "height": HEIGHT,
        "backgrounds": torch.rand(1, 3, generator=g),
    }
    for i, change in enumerate(ODDITIES.values()):
        change(a, i)
    return a


def _options(**given):
    base = {"rasterize_mode": "classic", "camera_model": "pinhole", "radius_rule": "square"}
    return {"render_mode": "RGB+ED", **base, **given}


@PLAIN
@given(scenes(), OPTIONS)
@example(everything_odd(), _options())
@example(everything_odd(), _options(rasterize_mode="antialiased", radius_rule="tight"))
@example(everything_odd(), _options(rasterize_mode="antialiased", camera_model="fisheye"))
@example(everything_odd(), _options(rasterize_mode="antialiased", camera_model="ortho"))
def test_everything_is_finite_and_alpha_within_bounds(arguments, options):
    a = leaves(arguments)
    image, alphas, _ = rasterize(**a, **options)
    (image.sum() + alphas.sum()).backward()
    assert image.isfinite().all()
    assert ((alphas >= 0.0) & (alphas <= 1.0)).all()
    for name, gradient in gradients(a).items():
        assert gradient.isfinite().all(), name


@PLAIN
@given(scenes(), OPTIONS, st.integers(0, 1000))
def test_the_order_of_gaussians_does_not_matter(arguments, options, seed):
    n = len(arguments["means"])
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    depths = (arguments["viewmats"][:, 2:3, :3] @ arguments["means"].T)[:, 0].sort(dim=-1).values
    if n > 1 and (depths.diff(dim=-1) == 0).any():
        return  # gsplat breaks ties of depth by index
    moved = dict(arguments)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        moved[name] = arguments[name][order]
    one, two = leaves(arguments), leaves(moved)
    for a in (one, two):
        image, alphas, _ = rasterize(**a, **options)
        (image.sum() + (alphas * torch.arange(WIDTH)[None, None, :, None]).sum()).backward()
        a["image"] = image.detach()
    assert torch.equal(one["image"], two["image"])
    grads, moved_grads = gradients(one), gradients(two)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        assert torch.equal(grads[name][order], moved_grads[name]), name
    torch.testing.assert_close(grads["viewmats"], moved_grads["viewmats"], rtol=1e-5, atol=1e-4)


@PLAIN
@given(scenes(), OPTIONS)
def test_the_background_shows_through_what_alpha_leaves(arguments, options):
    with torch.no_grad():
        image, alphas, _ = rasterize(**arguments, **options)
        plain, same, _ = rasterize(**{**arguments, "backgrounds": None}, **options)
    assert torch.equal(alphas, same)
    behind = (1 - alphas) * arguments["backgrounds"][:, None, None]
    torch.testing.assert_close(image[..., :3], plain[..., :3] + behind, rtol=0, atol=1e-6)
    assert torch.equal(image[..., 3:], plain[..., 3:])  # depth has no background


@PLAIN
@given(scenes(), OPTIONS, st.floats(0.1, 10.0))
def test_colors_and_depth_scale_linearly(arguments, options, factor):
    with torch.no_grad():
        image, alphas, _ = rasterize(**arguments, **options)
        bright = dict(arguments)
        for name in ("colors", "backgrounds"):
            bright[name] = arguments[name] * factor
        got, same, _ = rasterize(**bright, **options)
    assert torch.equal(alphas, same)
    torch.testing.assert_close(got[..., :3], factor * image[..., :3], rtol=2e-6, atol=2e-6 * factor)


@FEW
@given(scenes(odd=False), OPTIONS, st.integers(0, 1000))
def test_moving_world_and_cameras_together_changes_nothing(arguments, options, seed):
    """A rigid motion of the world; float32 moves the means by rounding, so thresholds may flip in a pixel."""
    g = torch.Generator().manual_seed(seed)
    quat, shift = torch.randn(1, 4, generator=g).double(), torch.randn(3, generator=g).double()
    R = reference.rotation(quat)[0]
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = R, shift
    w, v = quat[0, 0] / quat.norm(), quat[0, 1:] / quat.norm()
    qw, qv = arguments["quats"][:, :1].double(), arguments["quats"][:, 1:].double()
    turned = torch.cat(
        [w * qw - qv @ v[:, None], w * qv + qw * v + torch.linalg.cross(v.expand_as(qv), qv)], dim=-1
    )
    moved = {
        **arguments,
        "means": (arguments["means"].double() @ R.T + shift).float(),
        "quats": turned.float(),
        "viewmats": (arguments["viewmats"].double() @ torch.linalg.inv(motion)).float(),
    }
    options = {**options, "render_mode": "RGB"}
    with torch.no_grad():
        image, moved_image = rasterize(**arguments, **options)[0], rasterize(**moved, **options)[0]
    different = (image - moved_image).abs().amax(dim=-1) > 1e-3
    assert different.float().mean() < 0.02
    # and where nothing flips, by rounding alone
    assert float((image - moved_image).abs().median()) < 1e-5


@FEW
@given(scenes(odd=False, largest=12), OPTIONS)
def test_small_scenes_equal_the_reference(arguments, options):
    options = {**options, "render_mode": "RGB+D"}
    tight = options.pop("radius_rule") == "tight"
    near = 0.3  # Gaussians closer to the camera are hundreds of times as large as the image
    compare(arguments, image_tolerance=1e-5, grad_tolerance=5e-5, tight=tight, near_plane=near, **options)


@FEW
@given(scenes(), OPTIONS)
def test_packed_holds_the_same_numbers(arguments, options):
    one, two = leaves(arguments), leaves(arguments)
    for a, packed in ((one, False), (two, True)):
        image, alphas, info = rasterize(**a, **options, packed=packed)
        info["means2d"].retain_grad()
        (image.sum() + alphas.sum()).backward()
        a["image"], a["info"] = image.detach(), info
    assert torch.equal(one["image"], two["image"])
    for name, gradient in gradients(two).items():
        assert torch.equal(gradients(one)[name], gradient), name
    where = (two["info"]["camera_ids"], two["info"]["gaussian_ids"])
    assert torch.equal(one["info"]["means2d"].grad[where], two["info"]["means2d"].grad)
    assert int((one["info"]["radii"] > 0).sum()) == len(where[0]) * math.prod(two["info"]["radii"].shape[1:])


@FEW
@given(scenes(), OPTIONS)
def test_sparse_gradients_equal_dense_ones(arguments, options):
    one, two = leaves(arguments), leaves(arguments)
    rasterize(**one, **options)[0].sum().backward()
    rasterize(**two, **options, packed=True, sparse_grad=True)[0].sum().backward()
    for name in ("means", "quats", "scales"):
        assert two[name].grad.is_sparse
        assert torch.equal(two[name].grad.to_dense(), one[name].grad), name


@FEW
@given(scenes(), OPTIONS, st.integers(0, 1000))
def test_tiles_of_a_mask_are_as_without_it_and_the_others_are_empty(arguments, options, seed):
    """Also their gradients: those of the image with the other tiles left out of the loss."""
    cameras, g = len(arguments["viewmats"]), torch.Generator().manual_seed(seed)
    mask = torch.rand(cameras, -(-HEIGHT // 16), -(-WIDTH // 16), generator=g) < 0.5
    pixels = mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :HEIGHT, :WIDTH, None]
    whole, masked = leaves(arguments), leaves(arguments)
    images, alphas, _ = rasterize(**whole, **options)
    found, found_alphas, _ = rasterize(**masked, **options, tile_mask=mask)
    assert torch.equal(found * pixels, images * pixels) and torch.equal(found_alphas, alphas * pixels)
    behind = arguments["backgrounds"][:, None, None].expand(-1, HEIGHT, WIDTH, -1)
    assert torch.equal(found[..., :3] * ~pixels, behind * ~pixels)
    ((images.square() + alphas) * pixels).sum().backward()
    ((found.square() + found_alphas) * pixels).sum().backward()
    theirs = gradients(masked)
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
