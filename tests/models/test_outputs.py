"""Colour codes and the dictionary whose images are made when asked for."""

import pytest
import torch

from dyn3d_ns.models.lazy_outputs import LazyOutputs
from dyn3d_ns.viewer.colors import flow_colors, velocity_colors


def test_lazy_outputs_are_listed_at_once_and_made_once() -> None:
    calls: list[str] = []
    outputs = LazyOutputs({"rgb": 1}, {"flow": lambda: calls.append("flow") or 2})
    assert list(outputs) == ["rgb", "flow"] and list(outputs.keys()) == ["rgb", "flow"]
    assert not calls
    assert outputs["flow"] == 2 and outputs["flow"] == 2 and calls == ["flow"]
    outputs["extra"] = 3
    assert dict(outputs.items()) == {"rgb": 1, "flow": 2, "extra": 3}
    assert outputs.get("none", 7) == 7


def lazy() -> tuple[LazyOutputs, list[str]]:
    calls: list[str] = []
    return LazyOutputs({"rgb": 1}, {"flow": lambda: calls.append("flow") or 2}), calls


@pytest.mark.parametrize(
    "read",
    [dict, lambda o: {**o}, lambda o: dict(o.items()), lambda o: dict(zip(o, o.values(), strict=True))],
    ids=["dict", "unpacking", "items", "values"],
)
def test_whoever_reads_all_values_gets_images(read) -> None:
    outputs, calls = lazy()
    assert read(outputs) == {"rgb": 1, "flow": 2} and calls == ["flow"]
    assert outputs == {"rgb": 1, "flow": 2} and isinstance(outputs, dict) and calls == ["flow"]


@pytest.mark.parametrize(
    "read",
    [lambda o: o.pop("flow"), lambda o: o.get("flow"), lambda o: o.setdefault("flow", 5)],
    ids=["pop", "get", "setdefault"],
)
def test_whoever_reads_one_value_gets_the_image(read) -> None:
    outputs, calls = lazy()
    assert read(outputs) == 2 and calls == ["flow"]


def test_copies_and_unions_make_nothing_and_keep_the_later_value() -> None:
    outputs, calls = lazy()
    copied, joined, other = outputs.copy(), outputs | {"rgb": 7}, {"rgb": 7, "extra": 3} | outputs
    assert "flow" in outputs and len(outputs) == 2 and calls == []
    assert copied["flow"] == 2 and joined["rgb"] == 7 and joined["flow"] == 2
    assert list(other) == ["rgb", "extra", "flow"] and (other["rgb"], other["flow"]) == (1, 2)
    assert outputs["rgb"] == 1


def test_a_value_that_is_set_replaces_its_maker() -> None:
    for change in (
        lambda o: o.update(flow=5), lambda o: o.__setitem__("flow", 5), lambda o: o.__ior__({"flow": 5}),
    ):  # fmt: skip
        outputs, calls = lazy()
        change(outputs)
        assert outputs["flow"] == 5 and calls == []
    assert outputs.pop("none", 4) == 4
    del outputs["flow"]
    assert list(outputs) == ["rgb"]
    with pytest.raises(KeyError, match="flow"):
        outputs["flow"]


def test_rest_is_grey_as_velocity_and_white_as_flow() -> None:
    torch.testing.assert_close(velocity_colors(torch.zeros(1, 1, 3), 1.0), torch.full((1, 1, 3), 0.5))
    torch.testing.assert_close(flow_colors(torch.zeros(1, 1, 2), 1.0), torch.ones(1, 1, 3))


@pytest.mark.parametrize(
    ("direction", "color"),
    [
        ((1.0, 0.0), (1.0, 0.0, 0.0)),
        ((-0.5, 3**0.5 / 2), (0.0, 1.0, 0.0)),
        ((-0.5, -(3**0.5) / 2), (0.0, 0.0, 1.0)),
    ],
)
def test_flow_hue_is_the_direction(direction: tuple[float, float], color: tuple[float, float, float]) -> None:
    shown = flow_colors(torch.tensor([[direction]]) * 4, top=2.0)
    torch.testing.assert_close(shown[0, 0], torch.tensor(color), atol=1e-4, rtol=0)


def test_velocity_axes_are_the_channels() -> None:
    shown = velocity_colors(torch.tensor([[[2.0, -1.0, 9.0]]]), top_speed=4.0)
    torch.testing.assert_close(shown[0, 0], torch.tensor([0.75, 0.375, 1.0]))
