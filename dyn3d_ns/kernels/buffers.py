"""Buffers that outlive a call: fresh memory costs a page fault every 4 KB, more than the work done on it."""

import functools
import math
import threading
from collections import deque

import numpy as np

_KEPT = 48
_LINE = 64
"""Bytes that arrays cut from one buffer start at a multiple of."""
_LARGE = 1 << 18
"""Bytes from which on a result is laid in a buffer."""
_ITEM_SIZES = {np.float32: 4, np.int32: 4, np.int64: 8, np.float64: 8}
_lock = threading.Lock()
# idle buffers by whether they are cleared and by capacity, the capacity used last at the end
_idle: dict[tuple[bool, int], list[np.ndarray]] = {}
# A lease may end in the garbage collector, at any point of any thread: it must not wait for the lock.
_returned: deque[tuple[bool, np.ndarray]] = deque()


@functools.lru_cache(maxsize=4096)
def _capacity(size: int) -> int:
    """Round bytes up to one of four steps between powers of two, so that slowly growing sizes reuse a
    buffer."""
    step = max(4096, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


def _take_back() -> None:
    """Sort the returned buffers in, and let go of what has been idle for longest."""
    while _returned:
        cleared, buffer = _returned.popleft()
        key = (cleared, len(buffer))
        stack = _idle.pop(key, [])
        stack.append(buffer)
        _idle[key] = stack
    surplus = sum(map(len, _idle.values())) - _KEPT
    while surplus > 0:
        key = next(iter(_idle))
        if _idle[key]:
            _idle[key].pop(0)
            surplus -= 1
        else:
            del _idle[key]


def _find(capacity: int, cleared: bool) -> np.ndarray | None:
    """Take an idle buffer of that capacity, or else the smallest that is larger, but not much."""
    with _lock:
        if _returned:
            _take_back()
        stack = _idle.get((cleared, capacity))
        if not stack:
            larger = [k for k in _idle if k[0] == cleared and capacity <= k[1] <= 4 * capacity and _idle[k]]
            if not larger:
                return None
            stack = _idle[min(larger)]
        return stack.pop()


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

    def cut(self, *wanted: tuple[int, type]) -> list[np.ndarray]:
        """Borrow flat arrays of these sizes and types, of any content, cut from one buffer."""
        starts, end = [], 0
        for count, dtype in wanted:
            starts.append(end)
            end += -(-count * _ITEM_SIZES[dtype] // _LINE) * _LINE
        buffer = self._borrow_bytes(end, False)
        return [
            np.ndarray(count, dtype, buffer, start)
            for (count, dtype), start in zip(wanted, starts, strict=True)
        ]

    def _borrow(self, shape: int | tuple[int, ...], dtype: type, cleared: bool) -> np.ndarray:
        size = (shape if isinstance(shape, int) else math.prod(shape)) * _ITEM_SIZES[dtype]
        return np.ndarray(shape, dtype, self._borrow_bytes(size, cleared))

    def _borrow_bytes(self, size: int, cleared: bool) -> np.ndarray:
        if size == 0:
            return np.empty(0, np.uint8)
        capacity = _capacity(size)
        buffer = _find(capacity, cleared)
        if buffer is None:
            buffer = (np.zeros if cleared else np.empty)(capacity, dtype=np.uint8)
        self._held.append((cleared, buffer))
        return buffer

    def drop(self) -> None:
        """Forget the buffers: an error left them in an unknown state."""
        self._held = []

    def release(self) -> None:
        """Give the buffers back; nothing may use them after this."""
        held, self._held = self._held, []
        _returned.extend(held)

    def __del__(self) -> None:
        if self._held:
            self.release()


class _Result(np.ndarray):
    """An array whose buffer goes back when it is no longer referred to."""

    lease: Lease | None = None


def result(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a float32 array of any content that a call returns, and the flat view of it that kernels take.

    A large one lies in a buffer that goes back when neither the array nor what shares its memory is left.
    """
    size = math.prod(shape)
    if size * 4 < _LARGE:
        array = np.empty(shape, np.float32)
        return array, array.reshape(-1)
    lease = Lease()
    flat = lease.empty(size)
    array = flat.reshape(shape).view(_Result)
    array.lease = lease
    return array, flat
