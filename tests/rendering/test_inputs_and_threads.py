"""Bad and borderline inputs, and that threads change nothing."""

import threading

import pytest
import torch
from raster_helpers import compare, scene

from dyn3d_ns.rendering import get_num_threads, pool, rasterize, set_num_threads


def _gradients(threads, n=6000):
    before = get_num_threads()
    set_num_threads(threads)
    try:
        a = scene(n=n, seed=3, width=90, height=70, size=0.03)
        leaves = {
            k: a[k].requires_grad_() for k in ("means", "quats", "scales", "opacities", "colors", "viewmats")
        }
        image, _, _ = rasterize(**a, render_mode="RGB+D")
        (image * torch.linspace(-1, 1, image.numel()).view_as(image)).sum().backward()
        return [image.detach()] + [leaf.grad for leaf in leaves.values()]
    finally:
        set_num_threads(before)


def test_repeats_are_bitwise_equal_and_threads_change_nothing():
    one, two, again = _gradients(1), _gradients(2), _gradients(2)
    for a, b, c in zip(one, two, again, strict=True):
        assert torch.equal(b, c)
        assert float((a - b).norm()) <= 1e-6 * float(a.norm())


def test_two_python_threads_at_once():
    alone, results = _gradients(2), [None, None]

    def work(k):
        for _ in range(5):
            results[k] = _gradients(2)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        assert all(torch.equal(x, y) for x, y in zip(alone, result, strict=True))


def test_pool_raises_the_error_of_a_piece():
    def work(piece):
        if piece == 1:
            raise RuntimeError("piece 1")

    before = get_num_threads()
    set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="piece 1"):
            pool.run(work, 4)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("means", lambda v: v[:, :2]),
        ("quats", lambda v: v[:-1]),
        ("scales", lambda v: v.double()),
        ("opacities", lambda v: v[:, None]),
        ("colors", lambda v: v * float("nan")),
        ("viewmats", lambda v: v * 0),
        ("Ks", lambda v: v[0]),
        ("backgrounds", lambda v: v[:, :2]),
        ("width", lambda v: -1),
    ],
)
def test_errors_name_the_argument(name, change):
    a = scene(n=5)
    a[name] = change(a[name])
    with pytest.raises(ValueError, match=name):
        rasterize(**a)


@pytest.mark.parametrize("packed", [False, True])
def test_no_gaussians_and_no_pixels(packed):
    a = scene(n=0)
    image, alphas, _ = rasterize(**a, packed=packed)
    assert torch.equal(image, a["backgrounds"][:, None, None].expand_as(image)) and not alphas.any()
    a = scene(n=4)
    a["width"] = 0
    image, alphas, _ = rasterize(**a, packed=packed)
    assert image.shape == (1, a["height"], 0, 3) and alphas.shape == (1, a["height"], 0, 1)


def test_borderline_values_keep_gradients_finite():
    a = scene(n=40, seed=8)
    a["opacities"][:4] = torch.tensor([0.0, 1.0, 1 / 255, 0.999])
    a["scales"][4:7] = torch.tensor([[1e-8] * 3, [50.0] * 3, [1e-6, 1.0, 3.0]])
    a["means"][7:10, 2] = torch.tensor([-1.79, -1.8, -5.0])  # at, and behind, the camera
    for mode in ("classic", "antialiased"):
        leaves = ("means", "quats", "scales", "opacities", "viewmats")
        b = {k: v.clone().requires_grad_() if k in leaves else v for k, v in a.items()}
        image, alphas, _ = rasterize(**b, rasterize_mode=mode, render_mode="RGB+ED")
        (image.sum() + alphas.sum()).backward()
        assert image.isfinite().all()
        for k, v in b.items():
            if isinstance(v, torch.Tensor) and v.requires_grad:
                assert v.grad.isfinite().all(), k


def test_sparse_gradients_hold_the_same_numbers():
    a = scene(n=30, spread=4.0)
    dense = {k: a[k].clone().requires_grad_() for k in ("means", "quats", "scales")}
    sparse = {k: v.detach().clone().requires_grad_() for k, v in dense.items()}
    rasterize(**{**a, **dense})[0].sum().backward()
    rasterize(**{**a, **sparse}, sparse_grad=True)[0].sum().backward()
    for k, leaf in dense.items():
        assert sparse[k].grad.is_sparse
        assert torch.equal(sparse[k].grad.to_dense(), leaf.grad)


def test_more_channels_than_a_chunk():
    compare(scene(n=20, channels=7), channel_chunk=3, render_mode="RGB+D")
