"""Buffers that outlive a call: fresh memory costs a page fault every 4 KB, more than the work done on it."""

import threading
from collections import deque

import numpy as np

_KEPT = 48
_lock = threading.Lock()
_idle: dict[bool, list[np.ndarray]] = {False: [], True: []}
# A lease may end in the garbage collector, at any point of any thread: it must not wait for the lock.
_returned: deque[tuple[bool, np.ndarray]] = deque()


def _capacity(size: int) -> int:
    """Round bytes up to one of four steps between powers of two, so that slowly growing sizes reuse a
    buffer."""
    step = max(4096, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


def _find(size: int, cleared: bool) -> np.ndarray | None:
    """Take the smallest idle buffer that holds `size` bytes and is not much larger."""
    idle = _idle[cleared]
    with _lock:
        while _returned:
            was_cleared, buffer = _returned.popleft()
            _idle[was_cleared].append(buffer)
            del _idle[was_cleared][:-_KEPT]
        fitting = [k for k, buffer in enumerate(idle) if size <= len(buffer) <= 4 * size + 65536]
        return idle.pop(min(fitting, key=lambda k: len(idle[k]))) if fitting else None


class Lease:
    """Buffers of one call; they go back when the lease is released or no longer referred to."""

    def __init__(self):
        self._held: list[tuple[bool, np.ndarray]] = []

    def empty(self, shape: int | tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """Borrow an array of any content."""
        return self._borrow(shape, dtype, False)

    def cleared(self, shape: int | tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """Borrow an array of zeros, which must be zeros again when the lease ends."""
        return self._borrow(shape, dtype, True)

    def _borrow(self, shape: int | tuple[int, ...], dtype: type, cleared: bool) -> np.ndarray:
        count = int(np.prod(shape))
        size = count * np.dtype(dtype).itemsize
        buffer = _find(size, cleared)
        if buffer is None:
            buffer = (np.zeros if cleared else np.empty)(_capacity(size), dtype=np.uint8)
        self._held.append((cleared, buffer))
        return buffer[:size].view(dtype).reshape(shape)

    def drop(self) -> None:
        """Forget the buffers: an error left them in an unknown state."""
        self._held = []

    def release(self) -> None:
        """Give the buffers back; nothing may use them after this."""
        held, self._held = self._held, []
        _returned.extend(held)

    def __del__(self):
        if self._held:
            self.release()
