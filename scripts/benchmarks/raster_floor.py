"""The machine's floor under the rasteriser: its inner step from the first-level cache, exp, and memory."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
import raster_cases as cases

from dyn3d_ns.kernels.vector import LANES, exp2, select, splat
from dyn3d_ns.kernels.vector_channels import channels_fma, channels_load, channels_store
from dyn3d_ns.kernels.vector_memory import load, store
from dyn3d_ns.rendering.binning import RECORD
from dyn3d_ns.rendering.blend_forward import BLOCK_OFFSETS, MIN_TRANSMITTANCE, alpha_of, exponent

_ROUNDS = 4000


@numba.njit(nogil=True, error_model="numpy", _nrt=False)
def _steps(tag, rounds, records, colors, constants, out):
    """Blend 64 Gaussians into one block, over and over: the forward's step and nothing else."""
    px, py = load(constants, 0) + 0.5, load(constants, LANES) + 0.5
    acc, open_t = channels_load(tag, out, 0), splat(1.0)
    for _ in range(rounds):
        for r in range(64):
            weight = open_t * alpha_of(exponent(records, RECORD * r, px, py))
            rest = open_t - weight
            ok = rest > MIN_TRANSMITTANCE
            open_t = select(ok, rest, splat(1.0))
            acc = channels_fma(acc, select(ok, weight, splat(0.0)), colors, len(tag) * r)
    channels_store(acc, out, 0)


@numba.njit(nogil=True, error_model="numpy", _nrt=False)
def _exponentials(rounds, values, out):
    """Take 2**x of four vectors, over and over."""
    a, b, c, d = load(values, 0), load(values, 16), load(values, 32), load(values, 48)
    for _ in range(rounds):
        a, b, c, d = exp2(a) - 2.0, exp2(b) - 2.0, exp2(c) - 2.0, exp2(d) - 2.0
    store(out, 0, a + b + c + d)


def _seconds(call: Callable[[], object]) -> float:
    call()
    taken = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _instructions(assembly: str) -> dict[str, int]:
    """Count the instructions of the innermost loop that takes an exponential, all and those on vectors."""
    for body in re.split(r"^\.L\w+:", assembly, flags=re.MULTILINE):
        lines = [line.split()[0] for line in body.splitlines() if re.match(r"^\s+[a-z]\w*", line)]
        if "vpslld" in lines and any(name.startswith("j") for name in lines):
            return {"all": len(lines), "vector": sum(name.startswith("v") for name in lines)}
    return {}


def _count_steps(n: int, pixels: int) -> int:
    """Return how many times the forward blends one Gaussian into one block of 16 pixels."""
    from dyn3d_ns.rendering import rasterize

    image = cases.render(cases.make_scene(n, pixels), rasterize)
    entries = image.grad_fn.kept.tile_entries.reshape(-1, 3)  # type: ignore[union-attr]
    return int(entries[:, 2].sum())


def floor(sizes: tuple[tuple[int, int], ...], threads: int) -> dict:
    """Return the floor's figures, and for each size the steps and the milliseconds that they alone would
    take."""
    rng = np.random.default_rng(0)
    records = np.zeros((64, RECORD), dtype=np.float32)
    records[:, :2], records[:, 2], records[:, 4] = 4 * rng.random((64, 2)), 0.02, 0.02
    records[:, 5] = np.log2(0.05)
    colors, out, tag = rng.random(192).astype(np.float32), np.zeros(48, dtype=np.float32), (0, 0, 0)
    values, big = -rng.random(64).astype(np.float32), np.ones(1 << 24, dtype=np.float32)
    copy = np.empty_like(big)
    step = _seconds(lambda: _steps(tag, _ROUNDS, records.reshape(-1), colors, BLOCK_OFFSETS, out))
    step_ns = 1e9 * step / (_ROUNDS * 64)
    exp_ns = 1e9 * _seconds(lambda: _exponentials(100_000, values, out)) / 400_000
    steps = {f"{n // 1000}k/{pixels}": _count_steps(n, pixels) for n, pixels in sizes}
    return {
        "forward step of 16 pairs, ns": step_ns,
        "instructions of a step": _instructions(next(iter(_steps.inspect_asm().values()))),
        "exp2 of 16, ns": exp_ns,
        "copy, GB/s": 2 * big.nbytes / _seconds(lambda: np.copyto(copy, big)) / 1e9,
        "steps": steps,
        "forward floor, ms": {size: 1e-6 * count * step_ns / threads for size, count in steps.items()},
    }
