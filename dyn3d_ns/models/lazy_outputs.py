"""A dictionary of output images, each made when it is first looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch


class LazyOutputs(MutableMapping[str, Any], dict[str, Any]):  # pyright: ignore[reportGeneralTypeIssues]
    """Outputs of a model whose rarer images cost nothing until the viewer or a render asks for them.

    They are made without gradients, as those at hand were: who looks at one may stand outside of ``no_grad``.
    The keys are known from the start, so that they can be listed in a menu. It is a ``dict``, which holds the
    makers of the other images in their places; the mixin reads every value through ``[]``.
    """

    def __init__(self, ready: Mapping[str, Any], rest: Mapping[str, Callable[[], Any]] | None = None) -> None:
        """Take the images at hand, and the makers of those that are not among them."""
        dict.__init__(self, ready)
        for name, make in (rest or {}).items():
            dict.setdefault(self, name, _Unmade(make))

    def __getitem__(self, name: str) -> Any:
        value = dict.__getitem__(self, name)
        if isinstance(value, _Unmade):
            with torch.no_grad():
                value = self[name] = value.make()
        return value

    def __iter__(self) -> Iterator[str]:
        # Without one of its own, dict(outputs) and {**outputs} would copy what lies in the places.
        return dict.__iter__(self)

    __contains__ = dict.__contains__
    __setitem__ = dict.__setitem__
    __delitem__ = dict.__delitem__
    __len__ = dict.__len__
    __repr__ = dict.__repr__
    clear = dict.clear

    def copy(self) -> LazyOutputs:
        """Return another dictionary of the same images; those not made yet stay so in both."""
        return LazyOutputs(self._places())

    def __or__(self, other: Mapping[str, Any]) -> LazyOutputs:  # type: ignore[override]
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Mapping[str, Any]) -> LazyOutputs:  # type: ignore[override]
        return LazyOutputs({**other, **self._places()})

    def _places(self) -> dict[str, Any]:
        return {name: dict.__getitem__(self, name) for name in self}


class _Unmade:
    """The place of an image that nobody has looked at."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
