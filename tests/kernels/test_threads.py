"""Threads: the same bits on repeat, the same numbers whatever their count, and callers side by side."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from raster_helpers import scene

from dyn3d_ns.kernels import pool
from dyn3d_ns.kernels.pool import get_num_threads, set_num_threads
from dyn3d_ns.rendering import rasterize


@pytest.fixture(autouse=True)
def restored_threads():
    """Leave the number of threads as it was before each test."""
    before, torch_before = pool._State.num_threads, torch.get_num_threads()
    yield
    pool._State.num_threads = before
    torch.set_num_threads(torch_before)


def _results(n=9000, seed=3, backward_threads=None, **options):
    """Return image, absgrad and gradients of a scene large enough that every step is cut into pieces."""
    a = scene(n=n, seed=seed, width=90, height=70, size=0.03, cameras=2, sh=1)
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
    leaves = {k: a[k].clone().requires_grad_() for k in names}
    a |= leaves
    image, _, info = rasterize(**a, render_mode="RGB+D", absgrad=True, packed=False, **options)
    if backward_threads is not None:
        set_num_threads(backward_threads)
    (image * torch.linspace(-1, 1, image.numel()).view_as(image)).sum().backward()
    return [image.detach(), info["means2d"].absgrad] + [leaf.grad for leaf in leaves.values()]


def _equal(first, second):
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_repeats_are_bitwise_equal(threads):
    set_num_threads(threads)
    first = _results()
    assert all(_equal(first, _results()) for _ in range(3))


@pytest.mark.parametrize("threads", [2, 3, 4, 7])
def test_the_number_of_threads_changes_nothing(threads):
    set_num_threads(1)
    one = _results(rasterize_mode="antialiased")
    set_num_threads(threads)
    many = _results(rasterize_mode="antialiased")
    assert torch.equal(one[0], many[0])
    for x, y in zip(one, many, strict=True):
        assert float((x - y).norm()) <= 1e-6 * float(x.norm())


def test_the_number_of_threads_may_change_before_the_backward():
    set_num_threads(2)
    two = _results()
    set_num_threads(4)
    for x, y in zip(two, _results(backward_threads=2), strict=True):
        assert float((x - y).norm()) <= 1e-6 * float(x.norm())


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_viewer_beside_a_trainer(threads):
    """One Python thread renders views while another renders and goes backward; each gets its own results."""
    set_num_threads(threads)
    wanted, errors, stop = _results(), [], threading.Event()
    with torch.no_grad():
        view = scene(n=4000, seed=9, width=120, height=80)
        wanted_view = rasterize(**view)[0]

    def look():
        try:
            while not stop.is_set():
                with torch.no_grad():
                    assert torch.equal(rasterize(**view)[0], wanted_view)
        except BaseException as error:
            errors.append(error)

    viewers = [threading.Thread(target=look) for _ in range(2)]
    for viewer in viewers:
        viewer.start()
    try:
        assert all(_equal(_results(), wanted) for _ in range(8))
    finally:
        stop.set()
        for viewer in viewers:
            viewer.join()
    assert not errors


def test_two_trainers_at_once():
    set_num_threads(2)
    wanted = [_results(seed=k) for k in range(2)]
    results = [[], []]

    def work(k):
        results[k] = [_results(seed=k) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(len(results[k]) == 5 and all(_equal(r, wanted[k]) for r in results[k]) for k in range(2))


def test_torch_set_num_threads_is_honoured_at_any_time():
    pool._State.num_threads = None
    rasterize(**scene(n=3))
    for count in (1, 3, 2):
        torch.set_num_threads(count)
        assert get_num_threads() == count
    set_num_threads(5)  # ours goes first
    assert get_num_threads() == 5


def _run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_the_environment_variable_goes_before_torch(monkeypatch):
    pool._State.num_threads = None
    monkeypatch.setenv("DYN3D_NUM_THREADS", "3")
    torch.set_num_threads(2)
    assert get_num_threads() == 3


def test_the_environment_variable_is_honoured():
    code = """
import threading
from dyn3d_ns.kernels.pool import get_num_threads
from dyn3d_ns.kernels import pool
assert get_num_threads() == 3, get_num_threads()
barrier = threading.Barrier(3, timeout=120)
names = set()
def work(piece):
    barrier.wait()  # three pieces must run at once
    names.add(threading.current_thread().name)
pool.run(work, 3)
assert len(names) == 3, names
assert sum(t.name.startswith("dyn3d-raster") for t in threading.enumerate()) == 2
"""
    result = _run(code, DYN3D_NUM_THREADS="3")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["0", "two", "-1", ""])
def test_a_bad_environment_variable_is_named(value):
    result = _run("import dyn3d_ns.kernels.pool as r; r.get_num_threads()", DYN3D_NUM_THREADS=value)
    assert result.returncode != 0
    assert f"DYN3D_NUM_THREADS is {value!r}" in result.stderr


@pytest.mark.parametrize("count", [0, -2])
def test_set_num_threads_refuses_less_than_one(count):
    with pytest.raises(ValueError, match="at least 1"):
        set_num_threads(count)


def test_one_thread_starts_no_worker():
    code = """
import threading
from dyn3d_ns.kernels import pool
pool.run(lambda piece: None, 8)
assert threading.active_count() == 1
"""
    result = _run(code, DYN3D_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr


def test_pool_raises_the_error_of_a_piece_and_goes_on():
    def work(piece):
        if piece == 1:
            raise RuntimeError("piece 1")

    for threads in (1, 2):
        set_num_threads(threads)
        with pytest.raises(RuntimeError, match="piece 1"):
            pool.run(work, 4)
        done = []
        pool.run(done.append, 9)
        assert sorted(done) == list(range(9))


def test_a_forked_child_has_workers_of_its_own():
    """Data loaders fork; the parent's workers do not live in the child."""
    code = """
import os
from dyn3d_ns.kernels import pool
pool.run(lambda piece: None, 4)
child = os.fork()
if child == 0:
    done = []
    pool.run(done.append, 6)
    os._exit(0 if sorted(done) == list(range(6)) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    result = _run(code, DYN3D_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
