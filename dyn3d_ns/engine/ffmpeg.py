"""An ffmpeg for the commands that write videos, out of a wheel where the system has none."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def ensure_ffmpeg() -> str:
    """Return the path of an ffmpeg that ``shutil.which`` and a shell find too.

    If PATH has none, the binary inside the imageio-ffmpeg wheel is linked under the name ``ffmpeg`` in the
    user's cache folder, and that folder is appended to this process's PATH.

    Raises:
        RuntimeError: there is no ffmpeg at all.
    """
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    binary = Path(imageio_ffmpeg.get_ffmpeg_exe())
    name = "ffmpeg.exe" if os.name == "nt" else "ffmpeg"
    link = _writable_cache() / name
    if not (link.exists() and link.samefile(binary)):
        _link_or_copy(binary, link)
    os.environ["PATH"] = os.pathsep.join([*filter(None, [os.environ.get("PATH")]), str(link.parent)])
    return str(link)


def _writable_cache() -> Path:
    """Return the user's own folder for the ffmpeg link, below the temporary one if the home is read-only."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    candidates = [
        Path(base) if base else Path.home() / ".cache",
        Path(tempfile.gettempdir()) / f"dyn3d_ns-{user}",
    ]
    for candidate in candidates:
        folder = candidate / "dyn3d_ns" / "bin"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Another user's folder in a shared /tmp is not one to run programs from.
        mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        if mine and os.access(folder, os.W_OK):
            return folder
    raise RuntimeError(
        f"no folder to put an ffmpeg link in: none of {[str(c) for c in candidates]} is writable. "
        "Set XDG_CACHE_HOME to a writable folder or install ffmpeg."
    )


def _link_or_copy(binary: Path, link: Path) -> None:
    """Make ``link`` be ``binary`` in one step, so that two commands starting at once do not collide."""
    temporary = link.with_name(f"{os.getpid()}.{link.name}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(binary)
    except OSError:  # Windows without the right to make links
        shutil.copy2(binary, temporary)
    temporary.replace(link)
