"""Bytes and milliseconds of the stream codec on planes as trainings write them, beside zlib and lzma.

    python scripts/benchmarks/stream_codec.py

The entropy is the empirical one, with Miller and Madow's correction for few samples a value.
"""

from __future__ import annotations

import lzma
import time
import zlib

import numpy as np

from dyn3d_ns.io.stream.codec import decode_planes, encode_planes

Planes = dict[str, np.ndarray]


def entropy_bytes(values: np.ndarray) -> float:
    """Return what the values take at the least if each is drawn alone."""
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(counts * np.log2(share)).sum() + (len(counts) - 1) / 2 / np.log(2)) / 8


def cases(random: np.random.Generator) -> dict[str, Planes]:
    """Return planes by what they stand for."""

    def laplace(scale: float, *shape: int) -> np.ndarray:
        return np.rint(random.laplace(0, scale, shape)).astype(np.int16)

    found: dict[str, Planes] = {}
    for share in (0.005, 0.05, 0.5, 0.9):
        found[f"bools, {share:.1%} True"] = {"m": random.random(30_000) < share}
    for scale in (0.25, 0.7, 2, 40):
        found[f"Laplace, scale {scale}"] = {"r": laplace(scale, 3000, 3)}
    positions = random.normal(0, 1, (30_000, 3)) * [1, 2, 0.5]
    positions = (positions - positions.min(0)) / np.ptp(positions, axis=0)
    quats = random.normal(size=(30_000, 4))
    state = {
        "means": np.rint(positions * 65535).astype(np.uint16),
        "quats": np.rint(quats / np.linalg.norm(quats, axis=1, keepdims=True) * 2047).astype(np.int16),
        "scales": np.rint(np.clip(random.normal(128, 25, (30_000, 3)), 0, 255)).astype(np.uint8),
        "opacities": np.rint(255 / (1 + np.exp(-random.normal(0, 3, 30_000)))).astype(np.uint8),
        "sh0": np.rint(random.normal(0, 30, (30_000, 3))).astype(np.int16),
        "shN": laplace(4, 30_000, 9),
    }
    found |= {f"{name} of 30,000 Gaussians": {name: plane} for name, plane in state.items()}
    found["all of 30,000 Gaussians"] = state
    found["a delta of 3,000 movers"] = {
        "movers": random.random(30_000) < 0.1,
        "means": laplace(0.7, 3000, 3),
        "quats": laplace(0.5, 3000, 4),
        "scales": laplace(0.3, 3000, 3),
        "opacities": laplace(0.3, 3000),
        "sh0": laplace(0.7, 3000, 3),
        "gate": random.random((3000, 6)) < 0.3,
        "grid": laplace(40, 100, 7),
        "replaced": np.sort(random.choice(30_000, 50, replace=False)).astype(np.int32),
        "new": random.integers(0, 65_536, (50, 23)).astype(np.uint16),
    }
    return found


def milliseconds(call, *arguments) -> float:
    """Return the shortest of seven calls."""
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        call(*arguments)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)


def main() -> None:
    """Print the table."""
    print(f"{'planes':32} {'payload':>8} {'entropy':>8} {'zlib':>8} {'lzma':>8} {'in ms':>6} {'out ms':>6}")
    for name, planes in cases(np.random.default_rng(0)).items():
        data = encode_planes(planes)
        plain = b"".join(
            (np.packbits(plane) if plane.dtype == bool else plane).tobytes() for plane in planes.values()
        )
        sizes = (
            len(data),
            round(sum(map(entropy_bytes, planes.values()))),
            len(zlib.compress(plain, 9)),
            len(lzma.compress(plain, preset=9)),
        )
        times = (milliseconds(encode_planes, planes), milliseconds(decode_planes, data))
        print(f"{name:32} " + " ".join(f"{size:8,}" for size in sizes) + "".join(f" {t:6.2f}" for t in times))


if __name__ == "__main__":
    main()
