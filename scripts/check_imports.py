"""Read what other programs write: parts of `scripts/check_imports.sh`, each in the Python that it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

COUNT, DEGREE = 500, 3


def make(folder: Path) -> None:
    """Write a random scene as PLY, with its values beside it."""
    from dyn3d_ns.io.ply import write_splats

    rng = np.random.default_rng(0)
    quats = rng.normal(size=(COUNT, 4))
    scene = {
        "means": 2 * rng.normal(size=(COUNT, 3)),
        "quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "scales": np.exp(rng.uniform(-5, -2, (COUNT, 3))),
        "opacities": rng.uniform(0.05, 0.95, COUNT),
        "sh": (0.25 * rng.normal(size=(COUNT, (DEGREE + 1) ** 2, 3))).clip(-0.99, 0.99),
    }
    scene = {name: values.astype(np.float32) for name, values in scene.items()}
    write_splats(folder / "scene.ply", **scene)
    np.savez(folder / "scene.npz", **scene)


def others(folder: Path) -> None:
    """Convert the PLY with packages of Python; runs where these are installed."""
    import gaussforge
    import gsply

    for version in (3, 4):
        gsply.write_spz(folder / f"gsply-{version}.spz", gsply.plyread(folder / "scene.ply"), version=version)
    forge, data = gaussforge.GaussForge(), (folder / "scene.ply").read_bytes()
    for kind, options, name in (
        ("spz", {"spz_version": 2}, "gaussforge-2.spz"),
        ("spz", {"spz_version": 4}, "gaussforge-4.spz"),
        ("sog", {}, "gaussforge.sog"),
        ("splat", {}, "gaussforge.splat"),
    ):
        (folder / name).write_bytes(forge.convert(data, "ply", kind, **options)["data"])


def compare(folder: Path) -> None:
    """Print the largest difference of each file from the scene."""
    from scipy.spatial import KDTree

    from dyn3d_ns.io.splat_files.opening import read_splats

    print("| file | place | turn (degrees) | size | opacity | base colour | other colours | correlation |")
    print("|---|---|---|---|---|---|---|---|")
    with np.load(folder / "scene.npz") as stored:
        scene = dict(stored)
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".spz", ".sog", ".splat", ".glb", ".ply")):
        found = read_splats(path).sequence.at(0)
        truth = _half_turn(scene) if path.suffix == ".glb" else scene
        distances, rows = KDTree(truth["means"]).query(found.means)
        assert len(set(rows.tolist())) == COUNT, path
        wanted = {name: values[rows] for name, values in truth.items()}
        cosine = np.abs((wanted["quats"] * found.quats).sum(1)).clip(0, 1)
        sh = wanted["sh"][:, : found.sh.shape[1]]
        rest = [values[:, 1:].ravel() for values in (sh, found.sh)]
        numbers = [
            f"{distances.max():.4f}",
            f"{2 * np.degrees(np.arccos(cosine)).max():.1f}",
            f"{100 * np.abs(found.scales / wanted['scales'] - 1).max():.1f} %",
            f"{np.abs(found.opacities - wanted['opacities']).max():.4f}",
            f"{np.abs(found.sh - sh)[:, 0].max():.3f}",
            f"{np.abs(rest[0] - rest[1]).max():.3f}" if rest[0].size else "none",
            f"{np.corrcoef(*rest)[0, 1]:.3f}" if rest[0].size else "none",
        ]
        print(f"| {path.name} | {' | '.join(numbers)} |")


def _half_turn(scene: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn a scene by half a turn about z, as splat-transform does with what it takes for y-down."""
    w, x, y, z = scene["quats"].T
    signs = [1, *(-1, 1, -1), *(1, -1, 1, -1, 1), *(-1, 1, -1, 1, -1, 1, -1)]
    return {
        **scene,
        "means": scene["means"] * [-1, -1, 1],
        "quats": np.stack([-z, -y, x, w], axis=1),
        "sh": scene["sh"] * np.reshape(signs, (16, 1)),
    }


if __name__ == "__main__":
    {"make": make, "others": others, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
