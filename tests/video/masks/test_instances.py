"""Objects keep their ids while they cross, pause and hide; parallax is no object."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.masks.instances import Linker, final_ids
from dyn3d_ns.video.masks.motion import renumber

SHAPE = (40, 100)


def scene(positions: list[int | None], colors: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and true ids of 12-pixel squares at these columns; the last one lies on top."""
    image, ids = np.full((*SHAPE, 3), 90, np.uint8), np.zeros(SHAPE, np.int32)
    for k, (x, color) in enumerate(zip(positions, colors, strict=True), 1):
        if x is not None:
            image[14:26, x : x + 12], ids[14:26, x : x + 12] = color, k
    return image, ids


def follow(
    paths: list[list[int | None]], evidence: float = 0.9, memory: int = 10
) -> tuple[Linker, list, list]:
    """Run a linker over squares on these paths with their exact flow."""
    colors = [(200, 30, 30), (30, 60, 210), (20, 180, 40)][: len(paths)]
    linker, found, truth = Linker(memory), [], []
    frames = len(paths[0])
    for i in range(frames):
        now = [path[i] for path in paths]
        image, ids = scene(now, colors)
        flows = []
        for j in (i - 1, i + 1):
            if not 0 <= j < frames:
                flows.append(None)
                continue
            other = scene([path[j] for path in paths], colors)[1]
            flow, valid = np.zeros((*SHAPE, 2), np.float32), np.ones(SHAPE, bool)
            for k, path in enumerate(paths, 1):
                here, there = path[i], path[j]
                if here is not None and there is not None:
                    flow[ids == k, 0] = there - here
            ys, xs = np.nonzero(ids)
            ends = np.clip(xs + flow[ys, xs, 0], 0, SHAPE[1] - 1).astype(int)
            valid[ys, xs] = other[ys, ends] == ids[ys, xs]
            flows.append(Flow(flow, valid))
        found.append(
            linker.step(image, ids > 0, np.where(ids > 0, evidence, 0.02).astype(np.float32), *flows)
        )
        truth.append(ids)
    return linker, found, truth


def ids_of(found: list, truth: list, k: int) -> list[int]:
    """Return the commonest found id on true object k in each frame that shows it."""
    return [int(np.bincount(f[t == k]).argmax()) for f, t in zip(found, truth, strict=True) if (t == k).any()]


def test_two_objects_that_cross_keep_their_ids() -> None:
    linker, found, truth = follow([list(range(5, 77, 4)), list(range(80, 8, -4))])
    ids = final_ids(linker, 3, 0.1)
    found = [renumber(labels, ids) for labels in found]
    first, second = ids_of(found, truth, 1), ids_of(found, truth, 2)
    assert set(second) == {second[0]}, "the one on top"
    visible = [i for i, t in enumerate(truth) if (t == 1).sum() > 70]
    assert {int(np.bincount(found[i][truth[i] == 1]).argmax()) for i in visible[:3]} == {first[0]}
    assert first[0] != second[0]
    assert sorted(set(ids.values()) - {0}) == [1, 2]


def test_objects_that_touch_are_told_apart_by_their_colours() -> None:
    """While they touch, the flow has a little more of the second one come from the first, frame by frame."""
    linker = Linker()
    colors = [(200, 30, 30), (30, 60, 210)]
    for i in range(16):
        left = min(20 + 2 * i, 32)
        image, ids = scene([left, 44], colors)
        flow = np.zeros((*SHAPE, 2), np.float32)
        flow[ids == 1, 0] = -2 if left < 32 or i == 6 else 0
        if left == 32:
            flow[:, 44:, 0] = -3
        back, evidence = Flow(flow, np.ones(SHAPE, bool)), np.full(SHAPE, 0.9, np.float32)
        found = linker.step(image, ids > 0, evidence, back if i else None, None)
    first, second = (np.bincount(found[ids == k], minlength=3) for k in (1, 2))
    assert first.argmax() != second.argmax()
    assert first.max() > 0.9 * first.sum() and second.max() > 0.9 * second.sum()


def test_an_object_that_was_hidden_gets_its_id_back() -> None:
    path: list[int | None] = [20, 22, 24, 26, None, None, None, 34, 36, 38]
    linker, found, truth = follow([path])
    assert set(ids_of(found, truth, 1)) == {1}
    forgetful, found, truth = follow([path], memory=2)
    assert set(ids_of(found, truth, 1)) == {1, 2}
    assert len(forgetful.instances) == 2


def test_parallax_is_no_object() -> None:
    linker, _, _ = follow([list(range(10, 50, 4))], evidence=0.05)
    assert final_ids(linker, 3, 0.1) == {}


def test_what_is_seen_briefly_or_is_tiny_beside_the_rest_is_dropped() -> None:
    brief: list[int | None] = [60, 62, *[None] * 8]
    linker, _, _ = follow([list(range(5, 45, 4)), brief])
    assert final_ids(linker, 3, 0.1) == {1: 1}
    assert final_ids(linker, 2, 0.1) == {1: 1, 2: 2}
    assert final_ids(linker, 2, 0.1, min_share=0.5) == {1: 1}


def test_pieces_that_move_as_one_become_one() -> None:
    """Two halves that were apart in the first frame, since the mask had a gap there."""
    linker = Linker()
    for i in range(8):
        mask = np.zeros(SHAPE, bool)
        mask[10:30, 10 + 3 * i : 22 + 3 * i] = True
        if i == 0:
            mask[19:21] = False
        flow = np.zeros((*SHAPE, 2), np.float32)
        flow[mask, 0] = 3
        back = None if i == 0 else Flow(-flow, np.ones(SHAPE, bool))
        onward = Flow(flow, np.ones(SHAPE, bool))
        image = np.full((*SHAPE, 3), 120, np.uint8)
        linker.step(image, mask, mask.astype(np.float32), back, onward)
    assert len(linker.instances) == 2
    assert set(final_ids(linker, 3, 0.1).values()) == {1}


def test_renumber_drops_what_is_not_named() -> None:
    labels = np.array([[0, 3], [5, 9]], np.int32)
    assert renumber(labels, {3: 1, 5: 2}).tolist() == [[0, 1], [2, 0]]
    assert renumber(labels, {}).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("empty", [[None] * 4])
def test_nothing_moves(empty: list[None]) -> None:
    linker, found, _ = follow([list(empty)])
    assert final_ids(linker, 3, 0.1) == {}
    assert not any(labels.any() for labels in found)
