"""Images at the size that trains, as PNG on the disk, within a bound.

``FOLDER/<size and options>/<camera>/<frame>-<stamp of the source file>.png``: another video, or other
options, have other names, and what nobody asks for any more goes first when room is needed. Any number of
processes may share a folder: files appear whole, and one that is gone is decoded again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.atomic import atomic_path, write_text

FOLDER = ".dyn3d_cache"
"""Name of the folder in that of a recording."""
_PNG_END = b"IEND\xaeB`\x82"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Decoded frames of dyn3d_ns; may be deleted.\n"
"""By this file backup programs know a cache (bford.info/cachedir)."""
_STALE_SECONDS = 3600.0
"""Age at which a half-written file was left by a process that was killed."""


def store_folder(root: Path) -> Path:
    """Return where a recording's images are kept: beside it, or in the user's cache if that is read-only."""
    if os.access(root, os.W_OK):
        return root / FOLDER
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    user = Path(base) if base else Path.home() / ".cache"
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return user / "dyn3d_ns/recordings" / f"{root.resolve().name}-{name}"


class FrameStore:
    """Images of one recording on the disk; used by several threads."""

    def __init__(self, folder: Path, key: str, limit_bytes: float) -> None:
        """Name the folder; nothing is written before the first image.

        Args:
            folder: Where the images of the recording are kept, whatever the options.
            key: Name of size and options.
            limit_bytes: Room that all images in ``folder`` may take; those longest unused make place,
                all cameras of a moment together.
        """
        self.folder, self.key, self.limit_bytes = folder, key, limit_bytes
        self.evicted = False
        """Whether images had to make place, so that decoding ahead of need is in vain."""
        self._lock = threading.Lock()
        self._bytes: int | None = None
        self._broken = limit_bytes <= 0

    def path(self, camera: str, frame: int, stamp: str) -> Path:
        """Return the file of a camera's frame, there or not."""
        return self.folder / self.key / camera / f"{frame:06d}-{stamp}.png"

    def has(self, path: Path) -> bool:
        """Return whether an image is there."""
        return path.is_file()

    def read(self, path: Path) -> UInt8[np.ndarray, "H W 3"] | None:
        """Read an image and note its use; None where it is missing or damaged."""
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        # OpenCV makes a picture of half a file without a word.
        if not content.endswith(_PNG_END):
            return None
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def write(self, path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Write an image; where that fails, as on a full disk, say so once and go on without."""
        if self._broken:
            return
        # Level 1: OpenCV takes 0.6 of Pillow's time, and higher levels save 2 %.
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        content = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        try:
            self._measure()
            with atomic_path(path, durable=False) as temporary:
                temporary.write_bytes(content.tobytes())
            self._count(len(content))
        except OSError as error:
            self._broken = True
            print(
                f"{self.folder} takes no more images ({error}); frames are decoded at every use from now on",
                file=sys.stderr,
            )

    def _measure(self) -> None:
        """Add up what is there, before the first image is written."""
        with self._lock:
            if self._bytes is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                tag = self.folder / "CACHEDIR.TAG"
                if not tag.exists():
                    write_text(tag, _TAG)
                self._bytes = self._trim()

    def _count(self, size: int) -> None:
        with self._lock:
            self._bytes = (self._bytes or 0) + size
            if self._bytes > self.limit_bytes:
                self._bytes = self._trim()

    def _trim(self) -> int:
        """Remove the moments longest unused until a tenth of the room is free; return what the rest takes.

        Other processes' images are seen here, so that the bound holds for all of them together, but for what
        they wrote since they last looked.
        """
        moments: dict[tuple[str, str], list[tuple[Path, int, float]]] = defaultdict(list)
        total = 0
        for path in self.folder.glob("*/*/*"):
            try:
                facts = path.stat()
            except OSError:
                continue
            if path.suffix == ".tmp":
                if time.time() - facts.st_mtime > _STALE_SECONDS:
                    path.unlink(missing_ok=True)
                continue
            moments[path.parts[-3], path.name.split("-")[0]].append((path, facts.st_size, facts.st_mtime))
            total += facts.st_size
        if total <= self.limit_bytes:
            return total
        self.evicted = True
        for files in sorted(moments.values(), key=lambda found: max(used for _, _, used in found)):
            for path, size, _ in files:
                path.unlink(missing_ok=True)
                total -= size
            if total <= 0.9 * self.limit_bytes:
                break
        return total
