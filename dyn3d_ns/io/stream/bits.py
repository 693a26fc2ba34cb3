"""Variable-length integers and a run of raw bits: what the codec stores without a model."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from dyn3d_ns.io.errors import DamagedFileError

_LONGEST_VARINT = 5
"""Bytes of the longest number that a header holds: 35 bits."""


def zigzag(value: int) -> int:
    """Return 0, 1, 2, 3, 4 … for 0, -1, 1, -2, 2 …."""
    return 2 * value if value >= 0 else -2 * value - 1


def varint(value: int) -> bytes:
    """Return a number of 0 or more in groups of seven bits, the lowest first, all but the last marked."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


class ByteReader:
    """Read numbers and bytes one after the other.

    Raises:
        DamagedFileError: the data end too early, or a number is longer than any that is written.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that have not been read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.left:
            raise DamagedFileError(f"{count} bytes should follow, but only {self.left} do: it is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """Return the next number of 0 or more."""
        value = 0
        for place in range(_LONGEST_VARINT):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value
        raise DamagedFileError("a number in the header is too long")

    def signed(self) -> int:
        """Return the next number of either sign."""
        value = self.varint()
        return value >> 1 if value % 2 == 0 else -(value + 1 >> 1)


def pack_raw(values: Int64[np.ndarray, " N"], widths: Int64[np.ndarray, " N"]) -> np.ndarray:
    """Return the lowest ``widths`` bits of each value, lowest bit first, as one row of uint8 of 0 or 1."""
    ends = np.cumsum(widths)
    if not len(ends) or not ends[-1]:
        return np.zeros(0, np.uint8)
    place = np.arange(ends[-1]) - np.repeat(ends - widths, widths)
    return (np.repeat(values, widths) >> place & 1).astype(np.uint8)


class RawBits:
    """Read runs of raw bits; the k-th bit is bit k % 8 of byte k // 8."""

    def __init__(self, data: bytes) -> None:
        self._bytes = data + bytes(8)
        self._size = 8 * len(data)
        self._at = 0

    def take(self, widths: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
        """Return the next numbers, of the given widths in bits (0 to 32).

        Raises:
            DamagedFileError: fewer bits are left.
        """
        ends = np.cumsum(widths) + self._at
        starts = ends - widths
        if not len(ends) or ends[-1] == self._at:
            return np.zeros(len(widths), np.int64)
        if ends[-1] > self._size:
            raise DamagedFileError("the raw bits are cut short")
        self._at = int(ends[-1])
        # A window of eight bytes at every byte: no number of 32 bits crosses more than five.
        windows = np.ndarray((len(self._bytes) - 7,), "<u8", self._bytes, strides=(1,))
        found = windows[starts >> 3] >> (starts & 7).astype(np.uint64)
        return (found & ((1 << widths.astype(np.uint64)) - np.uint64(1))).astype(np.int64)

    def finish(self) -> None:
        """Check that nothing is left but the zero bits that fill the last byte.

        Raises:
            DamagedFileError: something else is left.
        """
        rest = self._size - self._at
        last = self._bytes[-9] >> 8 - rest if 0 < rest < 8 else 0
        if rest >= 8 or last:
            raise DamagedFileError("more raw bits are stored than the planes need")
