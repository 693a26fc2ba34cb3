"""What is installed: the wheel's content, the entry points, and which module may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "dyn3d_ns": "dyn3d_ns",
    "dataparsers": "dyn3d_ns.dataparsers",
    "method_configs": "dyn3d_ns.method_configs",
}


def modules() -> dict[str, Path]:
    """Return the import name and the file of every module that we ship."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = path
    return found


def imports_of(path: Path, name: str, everywhere: bool) -> set[str]:
    """Return the modules of ours that a file imports: on import only, or in its functions as well."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if everywhere else list(_executed_on_import(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            assert not node.level, f"{path}: relative imports do not survive the folder mapping"
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {module for module in found if module.split(".")[0] == "dyn3d_ns"}


def _executed_on_import(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _executed_on_import(child)


def part_of(module: str) -> str:
    """Return the part of the library that a module belongs to: "io" for dyn3d_ns.io.ply."""
    return module.split(".")[1] if "." in module else ""


BASE = {"", "compat"}
ALLOWED = {
    "timeline": set(),
    "geometry": {"timeline", "kernels"},
    "io": {"geometry", "timeline"},
    "dataparsers": {"geometry", "io", "timeline"},
    "kernels": set(),
    "rendering": {"geometry", "kernels"},
    "losses": {"geometry", "timeline", "kernels", "rendering"},
    "fields": {"geometry", "io", "timeline", "kernels", "rendering"},
    "gaussians": {"geometry", "io", "timeline", "kernels", "rendering", "fields"},
    "metrics": {"geometry", "io", "timeline", "rendering", "gaussians", "losses"},
    "data": {"geometry", "io", "timeline", "dataparsers", "plain_errors"},
    "viewer": {"geometry", "io", "timeline", "rendering", "gaussians"},
    "export": {"geometry", "io", "timeline", "fields", "gaussians", "engine"},
}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_one_way(name: str) -> None:
    part = part_of(name)
    used = {part_of(module) for module in imports_of(modules()[name], name, everywhere=True)} - BASE - {part}
    if part in ALLOWED:
        assert used <= ALLOWED[part], f"{name} imports {sorted(used - ALLOWED[part])}"
    if part not in ("cli", "method_configs"):
        assert "cli" not in used
    if part in ("engine", "video"):
        assert not used & {"models", "method_configs"}, f"{name} must not know a method"


HAND_WRITTEN = re.compile(
    r"""
    \[1(\.0)?,\ -1(\.0)?,\ -1(\.0)?          # OpenGL to OpenCV axes
    | \[(\.\.\.|:),\ :2\]\ /                  # division by the depth
    | /\ [\w.]+\[(\.\.\.|:),\ 2:\]
    | /\ (z|depths?)\[(\.\.\.|:),\ None\]
    | \bKs?\[[^\]]*[01],\ [012]\]             # focal lengths and principal points, one by one
    | [*/]\ f[xy]\b | [-+]\ c[xy]\b
    | Ks?\[[^\]]*:2,\ 2\]\ [-+]=              # half a pixel
    """,
    re.VERBOSE,
)
"""What a projection, an unprojection or a change of conventions looks like that is written out."""
MAY_PROJECT = {
    "dyn3d_ns/geometry/cameras.py": "the one place for it",
    "dyn3d_ns/rendering/cameras.py": "kernels: three camera models with their derivatives",
    "dyn3d_ns/fields/plane_product.py": "fx and fy are places within a cell",
    "dyn3d_ns/video/cameras/projection.py": "signed depth: a point behind a camera must be led back",
    "dyn3d_ns/video/masks/epipolar.py": "a plane's homography, no camera",
    "dataparsers/video.py": "half a turn of the world, no change of convention",
    "scripts/benchmarks/torch_tiles.py": "another implementation, to compare with",
}


@pytest.mark.parametrize("folder", [*FOLDERS, "scripts"])
def test_projections_are_written_in_one_place(folder: str) -> None:
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        lines = [line.strip() for line in path.read_text().splitlines() if HAND_WRITTEN.search(line)]
        if lines and name not in MAY_PROJECT:
            found[name] = lines
    assert not found, f"use dyn3d_ns.geometry.cameras: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "uv = cam[:, :2] / cam[:, 2:].clamp_min(1e-6)",
        "uv = xy / z[:, None]",
        "x = (xs - K[0, 2]) / K[0, 0] * depth",
        "x = (u - cx) / fx",
        "poses = poses * np.array([1.0, -1.0, -1.0, 1.0])",
        "Ks[:, :2, 2] += 0.5",
    ],
)
def test_a_projection_by_hand_is_recognised(line: str) -> None:
    assert HAND_WRITTEN.search(line)


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for module in graph[waiting.pop()] - seen:
                seen.add(module)
                waiting.append(module)
        reached[start] = seen
    found: list[set[str]] = []
    for module in graph:
        together = {other for other in reached[module] if module in reached[other]}
        if together and together not in found:
            found.append(together)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": {"a"}}
    assert circles(graph) == [{"b", "c"}, {"d"}]


def test_no_circle_of_imports() -> None:
    """Nowhere: on import, in functions, or for the type checker alone."""
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                # What is no module is a name of the package's own file.
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                graph[name] |= {module if module in known else str(node.module) for module in inner}
        graph[name] &= set(known)
    new = [sorted(circle) for circle in circles(graph)]
    assert not new, f"these modules import each other: {new}"


def test_the_package_itself_imports_nothing() -> None:
    assert not [
        node
        for node in ast.walk(ast.parse((ROOT / "dyn3d_ns/__init__.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    code = "import sys; before = set(sys.modules); import dyn3d_ns; print(*sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    heavy = {"numpy", "torch", "nerfstudio", "numba", "viser"}
    assert not heavy & set(out.stdout.split())


def test_packages_are_those_of_the_tree() -> None:
    found = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found
    without = {path.parent for path in modules().values()} - {
        path.parent for path in modules().values() if path.name == "__init__.py"
    }
    assert not without, f"folders without __init__.py: {without}"


def test_every_method_file_has_entry_points() -> None:
    from nerfstudio.configs.method_configs import all_methods

    entries = PYPROJECT["project"]["entry-points"]["nerfstudio.method_configs"]
    files = {path.stem for path in (ROOT / "method_configs").glob("*.py")} - {"__init__"}
    assert {value.split(":")[0].split(".")[-1] for value in entries.values()} == files
    for name in entries:
        assert all_methods[name].method_name == name


def test_every_dataparser_file_has_an_entry_point() -> None:
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    entries = PYPROJECT["project"]["entry-points"]["nerfstudio.dataparser_configs"]
    files = {path.stem for path in (ROOT / "dataparsers").glob("*.py")} - {"__init__"}
    assert {value.split(":")[0].split(".")[-1] for value in entries.values()} == files
    for name in entries:
        assert all_dataparsers[name]._target.includes_time, f"{name} must say that its cameras have times"


def test_constraints_name_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            requirement = line.split(";")[0].strip()
            assert requirement.count("==") == 1 and "@" not in line and "+" not in line, line


def test_the_wheel_holds_all_of_it_and_works_elsewhere(tmp_path: Path) -> None:
    # A copy, so that a build folder left in the tree cannot put stale modules into the wheel.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *FOLDERS):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True, text=True
    )
    (wheel,) = tmp_path.glob("dyn3d_ns-*-py3-none-any.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    expected = {name.replace(".", "/") for name in modules()}
    shipped = {n.removesuffix(".py").removesuffix("/__init__") for n in names if n.endswith(".py")}
    assert shipped == expected
    info = next(n.split("/")[0] for n in names if ".dist-info/" in n)
    others = {n for n in names if not n.endswith(".py") and not n.startswith(info)}
    page = {f"dyn3d_ns/export/web_page/{path.name}" for path in (ROOT / "dyn3d_ns/export/web_page").iterdir()}
    assert others == {"dyn3d_ns/py.typed"} | page and len(page) == 4
    assert any(n.startswith(f"{info}/") and n.endswith("LICENSE") for n in names)
    code = (
        "import dyn3d_ns.dataparsers.dynamic_object as d, dyn3d_ns.timeline as t;"
        "print(d.__file__, t.__file__, d.DynamicObjectDataParserSpecification.config._target.__name__)"
    )
    out = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert out.stdout.split()[:2] == [
        str(site / f"dyn3d_ns/{n}") for n in ("dataparsers/dynamic_object.py", "timeline.py")
    ]
