"""A decoder of planes written from docs/stream-format.md alone: plain Python, no range coder of a library.

It holds the page true, and the library to the bytes that streams on disk already have.
"""

from __future__ import annotations

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16")


class RangeDecoder:
    """Decode tokens from 32-bit words with frequencies that add up to 2**24."""

    def __init__(self, words: list[int]) -> None:
        self.words = words + [0, 0]
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.words[0] << 32 | self.words[1]
        self.next = 2

    def token(self, frequencies: list[int]) -> int:
        """Return the next token."""
        scale = self.range >> 24
        quantile = (self.point - self.lower) % 2**64 // scale
        token, below = 0, 0
        while below + frequencies[token] <= quantile:
            below += frequencies[token]
            token += 1
        self.lower = (self.lower + scale * below) % 2**64
        self.range = scale * frequencies[token]
        if self.range < 2**32:
            self.lower = self.lower << 32 & 2**64 - 1
            self.range <<= 32
            word = self.words[self.next] if self.next < len(self.words) else 0
            self.point = (self.point << 32 | word) & 2**64 - 1
            self.next += 1
        return token


def frequencies_of(weights: list[int]) -> list[int]:
    """Return frequencies that add up to 2**24."""
    free = 2**24 - len(weights)
    shares = [weight * free // sum(weights) for weight in weights]
    shares[weights.index(max(weights))] += free - sum(shares)
    return [share + 1 for share in shares]


def weight_of(level: int) -> int:
    """Return the weight of a level of a table."""
    return 0 if level == 0 else (4 + (level - 1) % 4) << (level - 1) // 4


def unzigzag(code: int) -> int:
    """Return the number of either sign that a code stands for."""
    return code // 2 if code % 2 == 0 else -(code + 1) // 2


STEPS = frequencies_of([2**20 // (step + 1) ** 2 for step in range(225)])


def decode(data: bytes) -> dict[str, tuple[str, list[int], list[int]]]:
    """Return each plane's type, shape and values in row-major order."""
    at = 1

    def byte() -> int:
        nonlocal at
        at += 1
        return data[at - 1]

    def number() -> int:
        value, shift = 0, 0
        while True:
            group = byte()
            value |= (group & 127) << shift
            shift += 7
            if group < 128:
                return value

    planes = []
    for _ in range(number()):
        size = byte()
        name = data[at : at + size].decode()
        at += size
        code = byte()
        shape = [number() for _ in range(code & 15)]
        elements = 1
        for side in shape:
            elements *= side
        flags, centre, kinds, count = 0, 0, 1, 0
        if elements:
            flags, centre, kinds = byte(), unzigzag(number()), number()
            count = number() if code >> 4 == 0 else elements
        planes.append((name, DTYPES[code >> 4], shape, elements, flags, centre, kinds, count))
    word_count = number()
    words = [int.from_bytes(data[at + 4 * k : at + 4 * k + 4], "little") for k in range(word_count)]
    coder = RangeDecoder(words)
    raw, bit = int.from_bytes(data[at + 4 * word_count : -4], "little"), 0
    found = {}
    for name, dtype, shape, elements, flags, centre, kinds, count in planes:
        weights, level = [], 0
        for _ in range(kinds if kinds > 1 else 0):
            level += unzigzag(coder.token(STEPS))
            weights.append(weight_of(level))
        values = []
        mantissa = flags & 15
        for token in [coder.token(frequencies_of(weights)) if kinds > 1 else 0 for _ in range(count)]:
            width = max((token >> mantissa) - 1, 0)
            u = (token - (width << mantissa) << width) + (raw >> bit & 2**width - 1)
            bit += width
            values.append(centre + (unzigzag(u) if flags & 128 else u))
        if dtype == "bool":
            rare, place, mask = int(not flags & 64), -1, [int(bool(flags & 64))] * elements
            for gap in values:
                place += gap + 1
                mask[place] = rare
            values = mask
        found[name] = (dtype, shape, values)
    return found
