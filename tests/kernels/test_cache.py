"""Kernels are compiled once: a second process loads them, wherever the package may lie."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dyn3d_ns
from dyn3d_ns.kernels import jit

# A kernel that compiles in a second stands for all: they share the cache.
RENDER = """
import numpy as np
from dyn3d_ns.kernels import jit
from dyn3d_ns.gaussians import colors
grads, out = np.full((1, 1, 3), 2.0, np.float32), np.zeros((1, 3), np.float32)
none = [np.zeros(shape, np.float32) for shape in ((0,), (0, 4), (0, 4), (1, 0, 3), (1, 0, 3))]
colors._backward(0, 1, grads, *none[:3], out, *none[3:])
assert out.tolist() == [[2.0, 2.0, 2.0]]
hits = sum(colors._backward.stats.cache_hits.values())
print(hits, jit.cache_folder())
"""

# As Nerfstudio's viewer breaks a rendering off: an exception at the next line of Python, here one of Numba's.
BREAKING_OFF = """
import sys
PLACES = ("numba.core.compiler", "numba.core.caching", "llvmlite")
def tracer(frame, event, arg):
    if event == "line" and frame.f_globals.get("__name__", "").startswith(PLACES):
        raise RuntimeError("broken off")
    return tracer
sys.settrace(tracer)
"""


def _python(package_root: Path, code: str = RENDER, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the package that lies in package_root, without this process's own cache folder."""
    kept = {k: v for k, v in os.environ.items() if k not in ("DYN3D_CACHE_DIR", "XDG_CACHE_HOME")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False,
        env={**kept, "PYTHONPATH": str(package_root), **environment},
    )  # fmt: skip


def _files(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.nb?")}


def _install(root: Path) -> Path:
    """Copy the package's sources to root, as pip would install them."""
    source = Path(dyn3d_ns.__file__).parent
    shutil.copytree(source, root / "dyn3d_ns", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package of its own."""
    return _install(tmp_path / "site-packages")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a copy of the package and a cache that a first process has filled."""
    root, cache = tmp_path_factory.mktemp("site-packages"), tmp_path_factory.mktemp("cache")
    first = _python(_install(root), DYN3D_CACHE_DIR=str(cache))
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == ["0", str(cache)]
    assert first.stderr.count("compiling the CPU kernels") == 1 and str(cache) in first.stderr
    return root, cache


def test_a_second_process_compiles_nothing(compiled: tuple[Path, Path]) -> None:
    root, cache = compiled
    written = _files(cache)
    assert {Path(name).suffix for name in written} == {".nbi", ".nbc"}
    second = _python(root, DYN3D_CACHE_DIR=str(cache))
    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == ["1", str(cache)]
    assert "compiling" not in second.stderr
    assert _files(cache) == written


def test_the_cache_lies_beside_the_sources_if_it_can(installed: Path) -> None:
    result = _python(installed)
    beside = installed / "dyn3d_ns/kernels/__pycache__"
    assert result.returncode == 0 and result.stdout.split()[1] == str(beside), result.stderr
    assert _files(beside)


def _forbid_writing(folder: Path) -> None:
    """Make the folder unwritable: by its mode, and for root, whom modes do not stop, by a file in its way."""
    beside = folder / "__pycache__"
    shutil.rmtree(beside, ignore_errors=True)
    if os.geteuid() == 0:
        beside.write_text("")
    folder.chmod(0o555)


def test_a_read_only_package_uses_the_users_cache(installed: Path, tmp_path: Path) -> None:
    folder, home = installed / "dyn3d_ns/kernels", tmp_path / "home"
    _forbid_writing(folder)
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        first = _python(installed, HOME=str(home), **quiet)
        second = _python(installed, XDG_CACHE_HOME=str(home / ".cache"), **quiet)
        for result, hits in ((first, "0"), (second, "1")):
            assert result.returncode == 0, result.stderr
            assert result.stdout.split() == [hits, str(home / ".cache/dyn3d_ns")]
            assert ("compiling" in result.stderr) is (hits == "0")
        assert _files(home / ".cache/dyn3d_ns") and not _files(folder)
    finally:
        folder.chmod(0o755)


def test_with_no_writable_folder_a_process_compiles_for_itself(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    result = _python(installed, DYN3D_CACHE_DIR=str(tmp_path / "taken"), TMPDIR=str(temporary))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[1].startswith(str(temporary / "dyn3d_ns-kernels-"))


@pytest.mark.parametrize("file", ["kernels/vector.py", "gaussians/colors.py", "rendering/binning.py"])
def test_a_changed_source_compiles_again(file: str, compiled: tuple[Path, Path], tmp_path: Path) -> None:
    """Also where only a file that kernels inline from has changed, in whichever folder."""
    root, cache = compiled
    changed = tmp_path / "site-packages"
    shutil.copytree(root, changed)
    source = changed / "dyn3d_ns" / file
    source.write_text(source.read_text() + "\n# changed\n")
    own = tmp_path / "cache"
    shutil.copytree(cache, own)
    result = _python(changed, DYN3D_CACHE_DIR=str(own))
    assert result.returncode == 0 and result.stdout.split()[0] == "0", result.stderr


def test_the_stamp_follows_every_file_with_kernels() -> None:
    """Each file that compiles something is part of the key of the cache."""
    package = Path(dyn3d_ns.__file__).parent
    kernels = {
        p for p in package.rglob("*.py") if re.search(r"@(kernel|inline|intrinsic|njit)\b", p.read_text())
    }
    assert {p.parent.name for p in kernels} >= {"kernels", "rendering", "gaussians", "fields", "losses"}
    assert kernels <= set(jit.kernel_sources(package))


def test_another_stamp_for_each_changed_file(tmp_path: Path) -> None:
    package = _install(tmp_path) / "dyn3d_ns"
    sources = jit.kernel_sources(package)
    before = jit.stamp_of(package)
    for path in sources:
        text = path.read_text()
        path.write_text(text + "\n# changed\n")
        assert jit.stamp_of(package) != before, path
        path.write_text(text)
    assert jit.stamp_of(package) == before


def test_kernels_of_one_name_in_two_folders_do_not_share_a_place() -> None:
    def here() -> None:
        """Stand for a kernel."""

    first, second = jit._Locator(here), jit._Locator(here)
    second._py_file = str(Path(first._py_file).parent / "elsewhere" / Path(first._py_file).name)
    assert first.get_disambiguator() != second.get_disambiguator()


def test_two_processes_may_compile_at_once(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "DYN3D_CACHE_DIR": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RENDER], cwd="/", env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.wait(timeout=600) for process in both] == [0, 0]
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix not in (".nbi", ".nbc")]


def test_a_kernel_is_made_whole_while_a_rendering_is_broken_off(
    compiled: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whether it is compiled or loaded; what calls it is still traced afterwards."""
    root, cache = compiled
    call = RENDER[RENDER.index("colors._backward(0") : RENDER.index("assert out")]
    code = RENDER.replace(call, f"{BREAKING_OFF}{call}assert sys.gettrace() is tracer\nsys.settrace(None)\n")
    for folder, loaded in ((tmp_path, "0"), (cache, "1")):
        done = _python(root, code, DYN3D_CACHE_DIR=str(folder))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(loaded) and "broken off" not in done.stderr
