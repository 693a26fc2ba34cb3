"""Integers as tokens that a range coder models, with raw low bits for large ones, and the tokens' tables.

What a decoder needs is computed from integers alone, so that it comes out the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64, UInt32

from dyn3d_ns.io.errors import DamagedFileError

MAX_MANTISSA = 12
"""Most mantissa bits of a token."""
MAX_TOKENS = 1 << 14
"""Most different tokens of one plane."""
MAX_LEVEL = 112
"""Highest level of a table."""
_PRECISION = 24
"""The range coder's probabilities are multiples of 2^-24."""


@lru_cache(maxsize=1)
def _coders() -> Any:
    """Return the entropy coders, whose package is loaded where one is needed: methods are listed without."""
    import constriction

    return constriction.stream  # type: ignore[attr-defined]  # made by compiled code, without stubs


@dataclass(frozen=True)
class TokenLayout:
    """How a plane's values become tokens: v -> u >= 0 -> token and raw bits.

    A token below ``2**(mantissa + 1)`` is u itself. Above, it stands for the exponent of u and the
    ``mantissa`` bits below its highest bit; the bits below those are stored raw.
    """

    centre: int
    """Value that becomes u = 0."""
    signed: bool
    """u counts 0, -1, 1, -2, 2 … from the centre, instead of upwards alone."""
    mantissa: int
    """Bits of u below its highest that the token holds."""

    def split(self, values: Int64[np.ndarray, " N"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each value's token, its u (whose lowest bits are stored raw) and their number; all [N]."""
        u = values - self.centre
        if self.signed:
            u = np.where(u >= 0, 2 * u, -2 * u - 1)
        # The exponent of a float64 is exact for integers below 2**53; frexp counts one more than log2.
        width = np.maximum(np.frexp(u.astype(np.float64))[1] - 1 - self.mantissa, 0).astype(np.int64)
        token = (width << self.mantissa) + (u >> width)
        return token, u, width

    def expand(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest u and the number of raw bits of each of the first ``count`` tokens."""
        token = np.arange(count)
        width = np.maximum((token >> self.mantissa) - 1, 0)
        return token - (width << self.mantissa) << width, width

    def values(self, u: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
        """Return the values that the given u stand for."""
        if self.signed:
            u = (u >> 1) ^ -(u & 1)
        return u + self.centre


def _level_weights() -> np.ndarray:
    """Return the weight of every level: 0 for tokens that do not occur, then four steps an octave."""
    step = np.arange(MAX_LEVEL)
    return np.concatenate([[0], 4 + step % 4 << step // 4])


WEIGHTS = _level_weights()
_LIMITS = (WEIGHTS[1:-1] + WEIGHTS[2:]) / 2


def nearest_levels(counts: Int64[np.ndarray, " K"]) -> Int64[np.ndarray, " K"]:
    """Return the level of a table that is nearest to each count."""
    return np.where(counts > 0, np.searchsorted(_LIMITS, 4 * counts) + 1, 0)


def frequencies(weights: Int64[np.ndarray, " K"]) -> Int64[np.ndarray, " K"]:
    """Return whole frequencies, 1 or more, that add up to 2**24 and follow the weights (not all are 0)."""
    free = (1 << _PRECISION) - len(weights)
    share = weights * free // weights.sum()
    share[np.argmax(weights)] += free - share.sum()
    return share + 1


def model_of(frequency: Int64[np.ndarray, " K"]) -> Any:
    """Return the range coder's model of two tokens or more with exactly these frequencies (see there)."""
    # constriction adds 1 to every probability after scaling them to 2**24 - K: these need no scaling.
    return _coders().model.Categorical((frequency - 1).astype(np.float64), perfect=False, lazy=False)


def new_encoder() -> Any:
    """Return an empty ``RangeEncoder``."""
    return _coders().queue.RangeEncoder()


def new_decoder(words: UInt32[np.ndarray, " W"]) -> Any:
    """Return a ``RangeDecoder`` of what a ``RangeEncoder`` made."""
    return _coders().queue.RangeDecoder(words)


@lru_cache(1)
def _step_frequencies() -> np.ndarray:
    """Return the fixed frequencies of a step from one level of a table to the next, zigzag from 0 on."""
    return frequencies((1 << 20) // (np.arange(2 * MAX_LEVEL + 1) + 1) ** 2)


@lru_cache(1)
def step_bits() -> np.ndarray:
    """Return what each step from one level to the next costs, in bits."""
    return _PRECISION - np.log2(_step_frequencies())


@lru_cache(1)
def _step_model() -> Any:
    return model_of(_step_frequencies())


def level_steps(levels: Int64[np.ndarray, " K"]) -> Int32[np.ndarray, " K"]:
    """Return the steps from one level to the next (from 0 to the first), zigzag."""
    steps = np.diff(levels, prepend=0)
    return np.where(steps >= 0, 2 * steps, -2 * steps - 1).astype(np.int32)


def encode_tokens(coder: Any, tokens: Int64[np.ndarray, " N"]) -> None:
    """Append a table and the tokens to a ``RangeEncoder``; nothing if there is but one token."""
    counts = np.bincount(tokens)
    if len(counts) == 1:
        return
    levels = nearest_levels(counts)
    coder.encode(level_steps(levels), _step_model())
    coder.encode(tokens.astype(np.int32), model_of(frequencies(WEIGHTS[levels])))


class TokenReader:
    """Read a table of tokens and then tokens from a ``RangeDecoder``.

    Raises:
        DamagedFileError: the coded data or the table are impossible.
    """

    def __init__(self, coder: Any, kinds: int) -> None:
        self._coder = coder
        self._model = None
        if kinds == 1:
            return
        steps = self._decode(_step_model(), kinds)
        levels = np.cumsum((steps >> 1) ^ -(steps & 1))
        if levels.min() < 0 or levels.max() > MAX_LEVEL or not levels.any():
            raise DamagedFileError("a table of the range coder is impossible")
        self._model = model_of(frequencies(WEIGHTS[levels]))

    def take(self, count: int) -> Int64[np.ndarray, " N"]:
        """Return the next tokens."""
        return np.zeros(count, np.int64) if self._model is None else self._decode(self._model, count)

    def _decode(self, model: Any, count: int) -> Int64[np.ndarray, " N"]:
        try:
            return self._coder.decode(model, count).astype(np.int64)
        except AssertionError as error:
            raise DamagedFileError("the range coder's data are invalid") from error


def best_layout(values: Int64[np.ndarray, " N"]) -> TokenLayout:
    """Return the layout with which one value or more take the fewest bits, table and raw bits included."""
    unique, counts = np.unique(values, return_counts=True)
    median = int(unique[np.searchsorted(np.cumsum(counts), len(values) / 2)])
    best, least = TokenLayout(median, True, 0), np.inf
    if len(unique) == 1:
        return best
    for signed, centre in ((True, median), (False, int(unique[0]))):
        worse = 0
        for mantissa in range(MAX_MANTISSA + 1):
            layout = TokenLayout(centre, signed, mantissa)
            cost = _cost(layout, unique, counts)
            if cost < least:
                best, least = layout, cost
            worse = 0 if cost <= least else worse + 1
            # The cost has one valley; two steps uphill allow for its roughness.
            if worse > 2:
                break
    return best


def _cost(layout: TokenLayout, unique: np.ndarray, counts: np.ndarray) -> float:
    """Return the bits that a layout takes for these values."""
    token, _, width = layout.split(unique)
    if token.max() >= MAX_TOKENS:
        return np.inf
    total = np.bincount(token, counts).astype(np.int64)
    levels = nearest_levels(total)
    coded = total @ (_PRECISION - np.log2(frequencies(WEIGHTS[levels])))
    return float(coded + step_bits()[level_steps(levels)].sum() + counts @ width)
