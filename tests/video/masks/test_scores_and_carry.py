"""Scores of several offsets, and values carried along the flow."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.masks.carry import carry_labels, chain, gather, vote
from dyn3d_ns.video.masks.residuals import PairResidual
from dyn3d_ns.video.masks.scores import frame_scores, motion_probability


def constant_flow(x: float, y: float, shape: tuple[int, int] = (12, 16)) -> Flow:
    flow = np.broadcast_to(np.array([x, y], np.float32), (*shape, 2)).copy()
    return Flow(flow, np.ones(shape, bool))


def still_pair(residual: np.ndarray, valid: np.ndarray) -> PairResidual:
    return PairResidual("still", residual.astype(np.float32), 0.0, None, 0.0, valid)


def test_probability_is_nothing_for_noise_and_sure_for_three_sigma() -> None:
    residual = np.array([[0.0, 0.1, 3.0, 30.0]], np.float32)
    noisy = motion_probability(residual, 1.0, 0.5)
    assert noisy[0] == pytest.approx([0, 1 - np.exp(-0.01 / 9), 1 - np.exp(-1), 1], abs=1e-3)
    assert motion_probability(residual, 0.0, 1.0)[0, 2] == pytest.approx(1 - np.exp(-9), abs=1e-5)


def test_only_offsets_that_see_a_pixel_count() -> None:
    moves, rests = np.full((2, 2), 10.0), np.zeros((2, 2))
    seen = np.array([[True, False], [True, True]])
    scores = frame_scores([still_pair(moves, seen), still_pair(rests, np.ones((2, 2), bool))])
    assert scores.average[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert scores.average[0, 1] == pytest.approx(0.0, abs=2e-3)
    assert scores.maximum[0] == pytest.approx([1, 0], abs=1e-3)


def test_evidence_leaves_out_what_parallax_explains() -> None:
    everywhere = np.ones((1, 2), bool)
    pair = PairResidual(
        "parallax",
        np.array([[9.0, 9.0]], np.float32),
        0.1,
        np.array([[0.0, 9.0]], np.float32),
        0.1,
        everywhere,
    )
    scores = frame_scores([pair])
    assert scores.average[0] == pytest.approx([1, 1])
    assert scores.evidence[0] == pytest.approx([0, 1])


def test_chained_flows_add_up() -> None:
    both = chain(constant_flow(2, 0), constant_flow(1, -1))
    assert both.flow[6, 5] == pytest.approx([3, -1])
    assert both.valid[6, 5]
    assert not both.valid[6, 15], "the middle point lies outside the picture"


def test_a_chain_is_valid_only_where_both_flows_are() -> None:
    second = constant_flow(0, 0)
    second.valid[:, 8:] = False
    both = chain(constant_flow(2, 0), second)
    assert both.valid[5, 5]
    assert not both.valid[5, 6]


def test_votes_travel_with_the_flow() -> None:
    score, neighbour = np.zeros((12, 16), np.float32), np.zeros((12, 16), np.float32)
    neighbour[4, 9] = 1
    blended = vote(score, neighbour, constant_flow(3, 0), 0.8)
    assert blended[4, 6] == pytest.approx(0.8)
    assert blended.sum() == pytest.approx(0.8)


def test_labels_are_carried_whole() -> None:
    labels = np.zeros((12, 16), np.int32)
    labels[2:5, 3:6] = 7
    flow = constant_flow(-2.2, 1.1)
    flow.valid[3, 7] = False
    carried = carry_labels(labels, flow)
    assert set(np.unique(carried)) == {0, 7}
    assert (carried[1:4, 5:8] == 7).sum() == 8
    assert carried[3, 7] == 0


def test_gather_tells_what_is_outside() -> None:
    values, inside = gather(np.ones((12, 16), np.float32), constant_flow(20, 0).flow)
    assert not inside.any()
    assert np.isfinite(values).all()
