"""How kernels are compiled: `nogil`, cached on disk, and with a word to the user while the first compile
runs.

Numba's own cache notices a change of the file that holds a kernel, not of the files it inlines from; ours is
keyed by the hash of all kernel sources of the package. It lives in `DYN3D_CACHE_DIR` if set, else beside the
sources, else (read-only installs) in the user's cache folder.
"""

import functools
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from dyn3d_ns.kernels.types import Context, Signature

_FOLDER = Path(__file__).resolve().parent
_announced = threading.Event()


def kernel_sources(package: Path) -> list[Path]:
    """Return the files of a package that hold kernels or what kernels inline, in a fixed order.

    Those are the files that import from Numba or from this module; a kernel can use nothing else.
    """
    return [
        path
        for path in sorted(package.rglob("*.py"))
        if b"kernels.jit import" in (source := path.read_bytes()) or b"from numba" in source
    ]


def stamp_of(package: Path) -> str:
    """Return the hash of all kernel sources of a package, names and contents."""
    digest = hashlib.sha256()
    for path in kernel_sources(package):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def source_stamp() -> str:
    """Return the hash of this package's kernel sources, in whichever folder they lie."""
    return stamp_of(_FOLDER.parent)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def cache_folder() -> Path:
    """Return the folder of compiled kernels: the first writable one of those listed above."""
    given = os.environ.get("DYN3D_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dyn3d_ns"
    candidates = [Path(given)] if given else [_FOLDER / "__pycache__", user]
    for root in candidates:
        if _writable(root):
            return root
    # Nothing is writable: this process compiles for itself, under a name no one else can have prepared.
    return Path(tempfile.mkdtemp(prefix="dyn3d_ns-kernels-"))


class _Locator:
    """Tells Numba's cache where to store a kernel and when it is stale."""

    def __init__(self, py_func: Callable):
        self._lineno = py_func.__code__.co_firstlineno
        self._py_file = py_func.__code__.co_filename

    def ensure_cache_path(self) -> None:
        """Make the folder."""
        cache_folder().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        """Return what changes when any kernel does."""
        return source_stamp()

    def get_disambiguator(self) -> str:
        """Return what tells kernels of one name apart."""
        # Numba adds the file's name and the function's; two folders may have both alike.
        return f"{Path(self._py_file).parent.name}-{self._lineno}"

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> "_Locator":
        """Make one for a kernel; Numba asks each class in turn."""
        return cls(py_func)


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 (the name and kind that Numba reads)


class _KernelCache(FunctionCache):
    _impl_class = _CacheImpl

    def load_overload(self, sig: Signature, target_context: Context) -> Any:
        """Load compiled code, or say that it is being made."""
        found = super().load_overload(sig, target_context)
        if found is None and not _announced.is_set():
            _announced.set()
            print(
                f"dyn3d_ns: compiling the CPU kernels, once on this machine (about 16 s in all); "
                f"kept in {cache_folder()}",
                file=sys.stderr,
                flush=True,
            )
        return found


# Without Numba's memory run time arrays are not counted: counting is an atomic operation on shared memory, in
# inner loops too. Kernels therefore allocate nothing; their scratch is passed in.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}


def _untraced(compile_kernel: Callable) -> Callable:
    """Let a compilation, or its loading from the cache, come to its end.

    Nerfstudio's viewer breaks a rendering off by a trace function that raises at the next line of Python. In
    the midst of Numba that leaves a kernel half made, and in a callback of LLVM the exception is lost.
    """

    @functools.wraps(compile_kernel)
    def run(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return compile_kernel(*args, **options)
        finally:
            sys.settrace(tracer)

    return run


def kernel(function: Callable) -> Any:
    """Compile a function of arrays and numbers, on first use, to run without the GIL and without
    allocating."""
    dispatcher: Any = njit(**_OPTIONS)(function)
    dispatcher._cache = _KernelCache(function)
    dispatcher.compile = _untraced(dispatcher.compile)
    return dispatcher


def inline(function: Callable) -> Any:
    """Compile a helper that other kernels call; LLVM merges it into its callers."""
    return njit(forceinline=True, **_OPTIONS)(function)
