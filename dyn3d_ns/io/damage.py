"""What is raised for a damaged file by those who decode it, and checks of what they hand out.

Python, numpy, zipfile and Pillow raise a dozen kinds of exceptions, depending on where a file is damaged:
readers turn all of them into an error that names the file. `scripts/fuzz.py` tries them.
"""

from __future__ import annotations

import struct
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from dyn3d_ns.io.errors import DamagedFileError

JSON_ERRORS = (OSError, ValueError, RecursionError)
"""Of ``json.loads`` on a file's text."""
CONTENT_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""Of code that takes numbers and names out of decoded JSON."""
ARRAY_ERRORS = (
    OSError, ValueError, EOFError, KeyError, TypeError, IndexError, AttributeError, SyntaxError, RuntimeError,
    MemoryError, ArithmeticError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Of ``numpy.load`` and of zipfile; NotImplementedError and RecursionError are RuntimeErrors."""


def image_errors() -> tuple[type[Exception], ...]:
    """Return what Pillow raises; an image of more than 179 million pixels is an error of its own."""
    from PIL import Image

    return (*ARRAY_ERRORS, Image.DecompressionBombError)


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value out of JSON is a finite number; whole numbers there know no bound, floats do."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def numbers(array: Any, where: Path | str) -> np.ndarray:
    """Return an array after checking that it is one, of numbers or truth values.

    Raises:
        DamagedFileError: it is something else.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DamagedFileError(f"{where} must hold numbers, got {found}; write it again")
    return array
