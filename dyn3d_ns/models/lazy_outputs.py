"""A dictionary of output images, each made when it is first looked at."""

from collections.abc import Callable, Iterator
from typing import Any


class LazyOutputs(dict[str, Any]):
    """Outputs of a model whose rarer images cost nothing until the viewer or a render asks for them.

    The keys are known from the start, so that they can be listed in a menu.
    """

    def __init__(self, ready: dict[str, Any], rest: dict[str, Callable[[], Any]]) -> None:
        """Take the images at hand and the makers of the others."""
        super().__init__(ready)
        self._rest = rest
        for name in rest:
            super().setdefault(name, None)

    def __getitem__(self, name: str) -> Any:
        if name in self._rest:
            self[name] = self._rest.pop(name)()
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the output, or the default where the model has none of that name."""
        return self[name] if name in self else default  # noqa: SIM401 (get is what this defines)

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        """Go over all outputs, making those not made yet."""
        return ((name, self[name]) for name in self)

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        """Go over all images, making those not made yet."""
        return (self[name] for name in self)
