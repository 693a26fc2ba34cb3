"""What a frame's fit shows is, to half a step, what a decoder makes of the delta."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from stream_scene import FRAMES, Streaming

from dyn3d_ns.engine.trainer import DynamicTrainer
from dyn3d_ns.gaussians.lattice import QUAT_BITS, RESIDUAL_BITS
from dyn3d_ns.models.stream.encoder import StreamEncoder
from dyn3d_ns.models.stream.fit import FrameFit, rounded


@pytest.fixture
def begun(unbroken: DynamicTrainer, streaming: Streaming) -> Iterator[tuple[StreamEncoder, FrameFit]]:
    """Return an encoder that has begun a frame, that before the last one again, and its fit."""
    model = streaming.model(unbroken)
    assert model.encoder is not None
    encoder = copy.copy(model.encoder)
    encoder.detector = copy.copy(encoder.detector)
    encoder.detector.ages = encoder.detector.ages.clone()
    encoder.known = encoder.known.clone()
    assert encoder.begin(model.images_at(FRAMES - 2)) == 4
    assert encoder.fit is not None
    yield encoder, encoder.fit


def free(fit: FrameFit, seed: int = 0) -> None:
    """Move everything that is free by a little."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values, size in (
            (fit.shift, 0.8),
            (fit.turn, 0.05),
            (fit.opacities, 0.5),
            (fit.features_dc, 0.1),
        ):
            values.add_(size * torch.randn(values.shape, generator=g))
        fit.scales[fit._of_moving] += 0.2 * torch.randn(len(fit._of_moving), 3, generator=g)


def test_the_decoder_arrives_where_the_fit_is(begun: tuple[StreamEncoder, FrameFit]) -> None:
    encoder, fit = begun
    encoder.config = dataclasses.replace(encoder.config, fit=dataclasses.replace(fit.config, renewed=0))
    lattice, before = encoder.decoder.lattice, encoder.state
    with torch.no_grad():
        fit.grid.add_(0.7 * torch.randn(fit.grid.shape, generator=torch.Generator().manual_seed(1)))
        coarse, _ = fit.carried()
    encoder.settle()
    assert (fit.placed()[0][: len(fit.rows)] - coarse).abs().max() < 12 * 2.0**-lattice.means
    free(fit)
    means, quats = (values.detach().numpy()[: len(fit.rows)] for values in fit.placed())
    opacities, colors = (fit.opacities.detach().numpy(), fit.features_dc.detach().numpy())
    encoder.end()
    moving = encoder.state.moving
    np.testing.assert_array_equal(np.flatnonzero(moving), fit.rows.numpy())
    # A residual below the dead zone stays away; what is above is rounded.
    off = np.abs(lattice.to_float("means", encoder.state.means[moving]) - means)
    assert off.max() <= 0.81 * 2.0**-lattice.means
    found = np.ldexp(encoder.state.quats[moving].astype(float), -QUAT_BITS)
    found, quats = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (found, quats))
    angle = 2 * np.arccos(np.clip(np.abs((found * quats).sum(1)), 0, 1))
    assert angle.max() < 2 * 2.0**-RESIDUAL_BITS
    changed = fit.changed_rows.numpy()
    assert (
        np.abs(lattice.to_float("opacities", encoder.state.opacities[changed]) - opacities).max() <= 0.81 / 4
    )
    assert (
        np.abs(lattice.to_float("features_dc", encoder.state.features_dc[changed]) - colors).max()
        <= 0.81 / 32
    )
    untouched = np.ones(len(before), bool)
    untouched[changed] = False
    for name in ("means", "quats", "scales", "opacities", "features_dc"):
        kept, was = (vars(state)[name][untouched] for state in (encoder.state, before))
        np.testing.assert_array_equal(kept, was, err_msg=name)
    resting = np.setdiff1d(changed, fit.rows.numpy())
    np.testing.assert_array_equal(encoder.state.scales[resting], before.scales[resting])


def test_new_gaussians_take_the_place_of_faint_ones_beside_what_fits_worst(
    begun: tuple[StreamEncoder, FrameFit],
) -> None:
    encoder, fit = begun
    fit.config = copy.copy(fit.config)
    fit.config.renew_error, fit.config.renewed, fit.config.faint = 0.0, 5, 0.3
    before, opacities = encoder.state, fit.before.opacities
    encoder.settle()
    (places,) = np.nonzero(fit.replaced)
    assert len(places) == 5
    assert bool((opacities[places] < 0.3).all())
    assert not (fit.moving | fit.changed)[places].any()
    (split,) = np.nonzero(
        (
            vars(before)["scales"]
            != encoder.decoder.lattice.to_int("scales", fit.before.scales.log().numpy())
        ).any(1)
    )
    assert len(split) == 5 and fit.changed[split].all() and not fit.moving[split].any()
    view = encoder.next_view()
    assert view is not None
    losses = encoder.loss()
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert fit.shift.grad is not None and bool(fit.shift.grad[-5:].any())
    means = fit.placed()[0].detach().numpy()[-5:]
    encoder.end()
    after, lattice = encoder.state, encoder.decoder.lattice
    assert np.abs(lattice.to_float("means", after.means[places]) - means).max() <= 0.5 * 2.0**-lattice.means
    assert (after.means[places] != before.means[places]).any(axis=1).all()
    assert not after.moving[places].any() and not bool(encoder.known[places].any())
    # What was split is as small as the fit showed it.
    shown = fit.before.scales[split].log().numpy()
    assert np.abs(lattice.to_float("scales", after.scales[split]) - shown).max() <= 0.5 * 2.0**-lattice.scales
    length = np.linalg.norm(after.quats[places].astype(float), axis=1)
    assert np.abs(length / 2**QUAT_BITS - 1).max() < 1e-3


def test_neighbours_hold_their_distance_from_one_another(begun: tuple[StreamEncoder, FrameFit]) -> None:
    _, fit = begun
    assert fit._pairs is not None and len(fit._pairs[0]) > 20
    fit.settle()
    still = float(fit._priors(fit.placed()[0])["rigid"].detach())
    with torch.no_grad():
        fit.shift[::2] += 3.0
    apart = float(fit._priors(fit.placed()[0])["rigid"].detach())
    assert apart > 2 * still
    with torch.no_grad():
        fit.shift[1::2] += 3.0
    together = float(fit._priors(fit.placed()[0])["rigid"].detach())
    assert together == pytest.approx(still, rel=1e-3, abs=1e-9)


def test_rounding_leaves_out_what_is_below_the_dead_zone() -> None:
    steps = np.array([-1.6, -0.9, -0.79, 0.0, 0.55, 0.81, 1.4, 2.6])
    np.testing.assert_array_equal(rounded(steps, 0.8), [-2, -1, 0, 0, 0, 1, 1, 3])
    np.testing.assert_array_equal(rounded(steps, 0.5), [-2, -1, -1, 0, 1, 1, 1, 3])
