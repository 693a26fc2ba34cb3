"""Compare what other readers find in exported files with the scene; `check_exports.sh` installs them.

    python scripts/check_exports.py CONFIG FOLDER

FOLDER holds `python` (an environment with gsply and gaussforge), `node_modules` (splat-transform, Spark) and
`blender` (an environment with bpy), as far as they are there.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dyn3d_ns.cli.export import Export4dgs, ExportGlb, ExportPly, ExportSpz, ExportUsd
from dyn3d_ns.cli.export_options import ExportOptions
from dyn3d_ns.cli.rig import load_scene
from dyn3d_ns.io.splats import Splats

TIME = 0.5
SPZ_LOG_SCALES = -10.0, 5.9375
SPZ_DC, SPZ_REST = 0.5 / 0.15, 1.0
Found = dict[str, np.ndarray]
"""Columns of a reader: means, quats (wxyz), log_scales, opacities, sh [N,K,3]; what it has of them."""

FOREIGN = """
import sys, numpy as np
kind, path, out = sys.argv[1:]
if kind == "gsply":
    import gsply
    read = gsply.read_spz(path) if path.endswith(".spz") else gsply.plyread(path)
    found = dict(means=read.means, quats=read.quats, log_scales=read.scales, logits=read.opacities,
                 dc=read.sh0, rest=read.shN)
else:
    import gaussforge
    suffix = "spz" if path.endswith(".spz") else "ply"
    read = gaussforge.GaussForge().read(open(path, "rb").read(), suffix)["data"]
    n = int(read["numPoints"])
    column = {name: np.frombuffer(read[name], np.float32) for name in
              ("positions", "scales", "rotations", "alphas", "colors", "sh")}
    found = dict(means=column["positions"].reshape(n, 3), quats=column["rotations"].reshape(n, 4),
                 log_scales=column["scales"].reshape(n, 3), logits=column["alphas"],
                 dc=column["colors"].reshape(n, 3), rest=column["sh"].reshape(n, -1, 3))
np.savez(out, **found)
"""

BLENDER = """
import json, sys, bpy, numpy as np
path, out, frames = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.usd_import(filepath=path)
found = {}
for frame in frames:
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    for item in bpy.data.objects:
        if item.type != "POINTCLOUD":
            continue
        data = item.evaluated_get(graph).data
        for name in ("position", "scale", "rotation"):
            layer = data.attributes[name]
            width = 4 if name == "rotation" else 3
            field = "value" if name == "rotation" else "vector"
            values = np.empty(len(layer.data) * width, np.float32)
            layer.data.foreach_get(field, values)
            found[f"{item.name}/{frame}/{name}"] = values.reshape(-1, width)
        found[f"{item.name}/{frame}/world"] = np.array(item.matrix_world, np.float32)
np.savez(out, cameras=sum(item.type == "CAMERA" for item in bpy.data.objects), **found)
"""

SPARK = """<!doctype html><script type="importmap">{"imports": {
"three": "/node_modules/three/build/three.module.js",
"three/addons/": "/node_modules/three/examples/jsm/",
"@sparkjsdev/spark": "/node_modules/@sparkjsdev/spark/dist/spark.module.js"}}</script>
<script type="module">
import { SplatMesh } from "@sparkjsdev/spark";
window.read = async (name) => {
    const fileBytes = new Uint8Array(await (await fetch(name)).arrayBuffer());
    const mesh = new SplatMesh({ fileBytes, fileName: name });
    await mesh.initialized;
    const rows = [];
    mesh.forEachSplat((index, c, s, q, opacity, color) => rows.push(
        [c.x, c.y, c.z, q.w, q.x, q.y, q.z, s.x, s.y, s.z, opacity, color.r, color.g, color.b]));
    return rows;
};
window.ready = true;
</script>"""


def main(config: Path, folder: Path) -> int:
    """Export, read, compare; print a table and return how many readers found something else."""
    files = folder / "files"
    files.mkdir()
    truth, moving = export(config, files)
    rows: list[tuple[str, str, str, bool | None]] = []

    def compare(reader: str, name: str, found: Found, allowed: dict[str, float], wanted: Splats) -> None:
        errors = differences(found, wanted)
        good = all(errors[column] <= allowed.get(column, 0.0) for column in errors)
        rows.append((reader, name, ", ".join(f"{c} {e:.2g}" for c, e in errors.items()), good))

    exact = {"means": 1e-6, "turns": 2e-3, "log_scales": 1e-5, "opacities": 1e-5, "sh": 1e-5}
    # Half a step of each column; turns of ten bits each.
    packed = {"means": 1.3e-4, "turns": 6e-3, "log_scales": 0.032, "opacities": 0.0021, "sh": 0.0135}
    for reader in ("gsply", "gaussforge"):
        for name, allowed, wanted in (("a.ply", exact, truth), ("a.spz", packed, clamped(truth))):
            compare(f"{reader} (PyPI)", name, foreign(folder, reader, files / name), allowed, wanted)
    transform = folder / "node_modules" / ".bin" / "splat-transform"
    if transform.exists():
        for name, allowed, wanted in (("a.ply", exact, truth), ("a.spz", packed, clamped(truth))):
            compare("splat-transform (npm)", name, by_csv(transform, files / name), allowed, wanted)
        # What it packs of ours comes back as ours.
        again = files / "again.spz"
        subprocess.run([transform, "-q", files / "a.ply", again], check=True)
        rows.append(("splat-transform (npm)", "a.ply to .spz", f"{again.stat().st_size / 1e6:.2f} MB", None))
        # Kept by Spark in half precision and bytes.
        coarse = {"means": 1e-3, "turns": 0.04, "log_scales": 0.08, "opacities": 0.004, "color": 0.008}
        for name, found in by_spark(folder, files, ["a.ply", "a.spz"]).items():
            compare("Spark (npm, in Chromium)", name, found, coarse, clamped(truth))
    else:
        rows.append(("splat-transform, Spark", "", "not run: no npm", None))
    rows += by_fourdgs(files, truth)
    rows += by_usd(files, truth, moving)
    blender = folder / "blender" / "bin" / "python"
    if blender.exists():
        rows += by_blender(blender, folder, files)
    else:
        rows.append(("Blender 5.3.0 (bpy)", "", "not run: no python3.13", None))
    print("| reader | file | largest difference | |\n|---|---|---|---|")
    for reader, name, errors, good in rows:
        verdict = {True: "as written", False: "DIFFERS", None: ""}[good]
        print(f"| {reader} | {name} | {errors} | {verdict} |")
    return sum(row[3] is False for row in rows)


def export(config: Path, files: Path) -> tuple[Splats, np.ndarray]:
    """Write the files and return the Gaussians at ``TIME``, and which of them move."""

    def options(kind: type[ExportOptions], name: str, **more) -> ExportOptions:
        return kind(load_config=config, output=files / name, up="data", **more)  # type: ignore[call-arg]

    for kind, name, times in (
        (ExportPly, "a.ply", (TIME,)),
        (ExportSpz, "a.spz", (TIME,)),
        (ExportGlb, "a.glb", (TIME,)),
        (ExportUsd, "a.usdc", None),
        (ExportUsd, "one.usdc", (TIME,)),
        (Export4dgs, "a.4dgs", None),
    ):  # fmt: skip
        options(kind, name, times=times).run()
    asked = options(ExportPly, "a.ply", times=(TIME,))
    sequence = asked.sequence(load_scene(config), [TIME])
    return sequence.at(0), sequence.moving


def clamped(splats: Splats) -> Splats:
    """Return Gaussians within what SPZ holds."""
    low, high = (np.exp(x) for x in SPZ_LOG_SCALES)
    dc = np.clip(splats.sh[:, :1], -SPZ_DC, SPZ_DC)
    rest = np.clip(splats.sh[:, 1:], -SPZ_REST, 127 / 128)
    return Splats(
        splats.means, splats.quats, np.clip(splats.scales, low, high), splats.opacities,
        np.concatenate([dc, rest], axis=1),
    )  # fmt: skip


def differences(found: Found, wanted: Splats) -> dict[str, float]:
    """Return the largest difference of each column, turns in radians."""
    if len(found["means"]) != len(wanted):
        return {"count": float(abs(len(found["means"]) - len(wanted)))}
    quats = found["quats"] / np.linalg.norm(found["quats"], axis=1, keepdims=True)
    cosine = np.clip(np.abs((quats.astype(np.float64) * wanted.quats).sum(1)), 0, 1)
    errors = {
        "means": np.abs(found["means"] - wanted.means).max(),
        "turns": (2 * np.arccos(cosine)).max(),
        "log_scales": np.abs(found["log_scales"] - np.log(wanted.scales)).max(),
        "opacities": np.abs(found["opacities"] - wanted.opacities).max(),
    }
    if "sh" in found:
        errors["sh"] = np.abs(found["sh"] - wanted.sh).max()
    if "color" in found:
        shown = np.clip(0.5 + 0.28209479177387814 * wanted.sh[:, 0], 0, 1)
        errors["color"] = np.abs(found["color"] - shown).max()
    return {name: float(value) for name, value in errors.items()}


def foreign(folder: Path, reader: str, path: Path) -> Found:
    """Read a file by a package of the other environment."""
    out = folder / "found.npz"
    python = folder / "python" / "bin" / "python"
    subprocess.run([python, "-c", FOREIGN, reader, path, out], check=True, stdout=subprocess.DEVNULL)
    with np.load(out) as read:
        rest = read["rest"]
        return {
            "means": read["means"], "quats": read["quats"], "log_scales": read["log_scales"],
            "opacities": 1 / (1 + np.exp(-read["logits"].astype(np.float64))),
            "sh": np.concatenate([read["dc"][:, None], rest], axis=1),
        }  # fmt: skip


def by_csv(transform: Path, path: Path) -> Found:
    """Read a file as splat-transform writes it down in numbers."""
    out = path.with_suffix(path.suffix + ".csv")
    subprocess.run([transform, "-q", path, out], check=True)
    table = np.genfromtxt(out, delimiter=",", names=True)
    assert table.dtype.names is not None

    def columns(prefix: str, names: str) -> np.ndarray:
        return np.stack([table[f"{prefix}{name}"] for name in names], axis=1)

    rest = [name for name in table.dtype.names if name.startswith("f_rest_")]
    sh = columns("f_dc_", "012")[:, None]
    if rest:
        more = np.stack([table[f"f_rest_{i}"] for i in range(len(rest))], axis=1)
        sh = np.concatenate([sh, more.reshape(len(table), 3, -1).transpose(0, 2, 1)], axis=1)
    return {
        "means": columns("", "xyz"), "quats": columns("rot_", "0123"), "log_scales": columns("scale_", "012"),
        "opacities": 1 / (1 + np.exp(-table["opacity"])), "sh": sh,
    }  # fmt: skip


def by_spark(folder: Path, files: Path, names: list[str]) -> dict[str, Found]:
    """Read files by Spark in a headless browser."""
    from playwright.sync_api import sync_playwright

    (folder / "spark.html").write_text(SPARK)
    found = {}
    with serving(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--use-angle=swiftshader"]
        )
        page = browser.new_page()
        page.goto(f"{address}/spark.html")
        page.wait_for_function("window.ready", timeout=120_000)
        for name in names:
            rows = np.array(page.evaluate("name => window.read(name)", f"/{files.name}/{name}"))
            found[name] = {
                "means": rows[:, :3], "quats": rows[:, 3:7],
                "log_scales": np.log(np.maximum(rows[:, 7:10], np.exp(SPZ_LOG_SCALES[0]))),
                "opacities": rows[:, 10], "color": rows[:, 11:14],
            }  # fmt: skip
        browser.close()
    return found


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone and yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    make: Callable = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def by_fourdgs(files: Path, truth: Splats) -> list[tuple[str, str, str, bool | None]]:
    """Read the .4dgs and the .glb by the reference reader of the former."""
    import fourdgs
    from fourdgs.validate import validate
    from scipy.spatial import KDTree

    report = validate((files / "a.4dgs").read_bytes())
    scene = fourdgs.read(files / "a.4dgs")
    bound = float(scene.header.attributes["max_error"])
    # The last frame lasts as long as the others.
    centers = scene.state_at(TIME * scene.duration_sec)["centers"]
    away = KDTree(truth.means).query(centers)[0].max()
    same = len(centers) == len(truth)
    glb = fourdgs.from_gltf(files / "a.glb").gaussians
    off = np.abs(glb.positions - truth.means).max()
    return [
        ("fourdgs 0.6.0", "a.4dgs", f"means {away:.2g} of {bound:.2g} asked for, valid: {report.ok}",
         bool(report.ok and same and away <= 2 * bound)),
        ("fourdgs 0.6.0", "a.glb", f"means {off:.2g}", bool(off < 1e-6)),
    ]  # fmt: skip


def by_usd(files: Path, truth: Splats, moving: np.ndarray) -> list[tuple[str, str, str, bool | None]]:
    """Read the file of one instant by usd-core."""
    from pxr import Usd

    stage = Usd.Stage.Open(str(files / "one.usdc"))
    means = np.concatenate(
        [
            np.asarray(prim.GetAttribute("positionsh").Get() or prim.GetAttribute("positions").Get(), float)
            for prim in stage.Traverse()
            if prim.GetTypeName() == "ParticleField3DGaussianSplat"
        ]
    )
    off = np.abs(means - np.concatenate([truth.means[~moving], truth.means[moving]])).max()
    return [("usd-core", "one.usdc", f"means {off:.2g}", bool(off < 1e-3))]


def by_blender(python: Path, folder: Path, files: Path) -> list[tuple[str, str, str, bool | None]]:
    """Import the USD in Blender, step through frames, and compare with what usd-core reads there."""
    from pxr import Usd

    out = folder / "blender.npz"
    stage = Usd.Stage.Open(str(files / "a.usdc"))
    last = int(stage.GetEndTimeCode())
    frames = [0, last // 3, last]
    run = subprocess.run(
        [python, "-c", BLENDER, str(files / "a.usdc"), str(out), json.dumps(frames)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        return [("Blender 5.3.0 (bpy)", "a.usdc", (run.stderr.strip().splitlines() or ["failed"])[-1], False)]
    worst = 0.0
    with np.load(out) as found:
        for part in ("Resting", "Moving"):
            prim = stage.GetPrimAtPath(f"/Scene/{part}")
            half = prim.GetAttribute("positionsh").HasAuthoredValue()
            for frame in frames:
                wanted = np.asarray(
                    prim.GetAttribute("positionsh" if half else "positions").Get(frame), float
                )
                worst = max(worst, float(np.abs(found[f"{part}/{frame}/position"] - wanted).max()))
        cameras = int(found["cameras"])
    return [
        (
            "Blender 5.3.0 (bpy)",
            "a.usdc",
            f"means {worst:.2g} at frames {frames}, {cameras} cameras",
            worst < 2e-3,
        )
    ]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
