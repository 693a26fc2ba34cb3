"""The networks of MonoNeRF: what rests, and what moves together with how it moves (sections 3.2 to 3.6).

All scenes share them. They see places in the cube of a scene, [-1, 1] along each axis, and features of its
frames; what is special to a scene comes from the features and the code of its video.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dyn3d_ns.fields.encoding import encode

COLORS = 3
"""Channels at the end of every feature: the colour of the frame at full resolution."""
DEPTH_CUES = 4
"""Channels at the start of what moves sees: how a place lies to the surface that the frame shows there."""
LARGEST_MOVE = 0.3
"""Most that a place moves from one frame to the next, in half sides of the cube."""


class ResidualBlock(nn.Module):
    """Two linear layers before which comes the activation, beside a skip; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Float[Tensor, "P W"]) -> Float[Tensor, "P W"]:
        """Add what the layers make of the input to it."""
        return h + self.second(torch.relu(self.first(torch.relu(h))))


class Matter(NamedTuple):
    """What a field says of places."""

    density: Float[Tensor, "P"]
    """Per length of a ray's way through the cube."""
    color: Float[Tensor, "P 3"]


def to_density(raw: Float[Tensor, "P"], scale: float) -> Float[Tensor, "P"]:
    """Return the density that a network's output stands for."""
    return scale * nn.functional.softplus(raw - 1)


class AtRest(NamedTuple):
    """Places of the static field, as far as their colours need them."""

    density: Float[Tensor, "P"]
    state: Float[Tensor, "P W"]
    features: Float[Tensor, "P K C"]
    shares: Float[Tensor, "P K"]
    """How much each frame counts."""
    mean: Float[Tensor, "P C"]
    known: Bool[Tensor, "P 1"]
    """Whether any frame shows the place."""


class StaticField(nn.Module):
    """What rests: density and colour from a place, a direction, and features of several frames.

    The paper takes the feature of one frame at random; here mean and variance over the frames in which the
    place is not covered by what moves tell where surfaces are, and the colour is a blend of theirs.
    """

    def __init__(
        self, channels: int, width: int, blocks: int, octaves: int, density_scale: float, from_frames: bool
    ) -> None:
        """Build the network.

        Args:
            channels: Of a feature, its colour included.
            width: Units of a hidden layer.
            blocks: Residual blocks; before each of the first three the features are added.
            octaves: Octaves of the place.
            density_scale: Density of an output of about one.
            from_frames: Whether colours start from those of the frames.
        """
        super().__init__()
        self.octaves, self.density_scale, self.from_frames = octaves, density_scale, from_frames
        self.place = nn.Linear(3 + 6 * octaves, width)
        self.features = nn.ModuleList(nn.Linear(2 * channels, width) for _ in range(min(blocks, 3)))
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.raw_density = nn.Linear(width, 1)
        self.color = nn.Sequential(nn.Linear(width + 15, width // 2), nn.ReLU(), nn.Linear(width // 2, 3))
        self.score = nn.Sequential(nn.Linear(2 * channels, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(
        self,
        places: Float[Tensor, "P 3"],
        directions: Float[Tensor, "P 3"],
        features: Float[Tensor, "P K C"],
        seen: Bool[Tensor, "P K"],
    ) -> Matter:
        """Evaluate places, given their features in K frames and whether each frame shows them at rest."""
        found = self.geometry(places, features, seen)
        return Matter(found.density, self.colors(found, directions))

    def geometry(
        self, places: Float[Tensor, "P 3"], features: Float[Tensor, "P K C"], seen: Bool[Tensor, "P K"]
    ) -> AtRest:
        """Evaluate the density alone, and keep what :meth:`colors` needs."""
        known = seen.any(1, keepdim=True)
        shares = seen.float() + 1e-3
        shares = shares / shares.sum(1, keepdim=True)
        mean = (shares[..., None] * features).sum(1)
        variance = (shares[..., None] * (features - mean[:, None]).square()).sum(1)
        # Where no frame shows a place there is only the place to go by.
        statistics = torch.cat([mean, 4 * variance], dim=-1) * known
        h = torch.relu(self.place(encode(places, self.octaves)))
        for i, block in enumerate(self.blocks):
            h = block(h + self.features[i](statistics) if i < len(self.features) else h)
        h = torch.relu(h)
        density = to_density(self.raw_density(h)[:, 0], self.density_scale)
        return AtRest(density, h, features, shares, mean, known)

    def colors(self, at: AtRest, directions: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Return the colours of places, seen along unit directions."""
        change = self.color(torch.cat([at.state, encode(directions, 2)], dim=-1))
        if self.from_frames:
            apart = (at.features - at.mean[:, None]).abs()
            scores = self.score(torch.cat([at.features, apart], dim=-1))[..., 0] + torch.log(at.shares)
            blend = (scores.softmax(1)[..., None] * at.features[..., -COLORS:]).sum(1)
            change = change + torch.logit(blend, eps=0.02) * at.known
        return torch.sigmoid(change)


class Guides(NamedTuple):
    """Features of places in the frame of their time, and where they were and will be in those around it."""

    now: Float[Tensor, "P C"]
    before: Float[Tensor, "P C"]
    after: Float[Tensor, "P C"]


class Moving(NamedTuple):
    """What the dynamic field says of places."""

    matter: Matter
    blend: Float[Tensor, "P"]
    """How much of a place is what moves, 0 to 1."""


class DynamicField(nn.Module):
    """What moves: a velocity from place, time and the clip's code, and on the same stem the matter.

    Velocity is ``LARGEST_MOVE tanh(...)``, per frame of the video, in half sides of the scene's cube.
    """

    def __init__(
        self,
        channels: int,
        code: int,
        width: int,
        blocks: int,
        global_blocks: int,
        octaves: int,
        density_scale: float,
        from_frames: bool,
    ) -> None:
        """Build the network.

        Args:
            channels: Of a feature, its colour and what is said of its depth included.
            code: Size of the clip's code.
            width: Units of a hidden layer.
            blocks: Residual blocks of the head.
            global_blocks: Blocks of the stem, each of which sees the clip's code.
            octaves: Octaves of place and time.
            density_scale: Density of an output of about one.
            from_frames: Whether colours start from those of the frames.
        """
        super().__init__()
        self.octaves, self.density_scale = octaves, density_scale
        self.from_frames = from_frames
        self.place = nn.Linear(4 + 8 * octaves, width)
        self.global_places = nn.ModuleList(nn.Linear(width, width) for _ in range(global_blocks))
        self.global_codes = nn.ModuleList(nn.Linear(code, width) for _ in range(global_blocks))
        self.global_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(global_blocks))
        self.move = nn.Linear(width, 3)
        nn.init.normal_(self.move.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.move.bias)
        self.now, self.around = nn.Linear(channels, width), nn.Linear(channels, width)
        self.apart = nn.Linear(3 * channels, width)
        self.aggregate = nn.Linear(2 * width, width)
        self.later = nn.ModuleList(nn.Linear(channels, width) for _ in range(min(blocks, 3) - 1))
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.out = nn.Linear(width, 5)
        self.pick = nn.Linear(width, 3)

    def stem(
        self, places: Float[Tensor, "P 3"], times: Float[Tensor, "P 1"], codes: Float[Tensor, "R D"]
    ) -> Float[Tensor, "P W"]:
        """Return what velocity and matter have in common; ``times`` run from -1 to 1 over a video.

        Each code is that of as many places as the others.

        The encoding has the length of the square root of half its size, as if of unit length each: that
        weakens high octaves, as in the paper.
        """
        encoded = encode(torch.cat([places, times], dim=-1), self.octaves)
        encoded = nn.functional.normalize(encoded, dim=-1) * math.sqrt(encoded.shape[-1] / 2)
        h, count = torch.relu(self.place(encoded)), len(places) // max(len(codes), 1)
        for place, code, block in zip(self.global_places, self.global_codes, self.global_blocks, strict=True):
            told = place(h).view(len(codes), count, h.shape[1]) + code(codes)[:, None]
            h = torch.relu(block(torch.relu(told.view(h.shape))))
        return h

    def velocity(self, stem: Float[Tensor, "P W"]) -> Float[Tensor, "P 3"]:
        """Return how far places move within a frame."""
        return LARGEST_MOVE * torch.tanh(self.move(stem))

    def forward(self, stem: Float[Tensor, "P W"], guides: Guides) -> Moving:
        """Return matter and blending of places, given their stem and features."""
        now, before, after = guides
        around = 0.5 * (self.around(before) + self.around(after))
        apart = torch.cat([(now - before).abs(), (now - after).abs(), (before - after).abs()], dim=-1)
        added = self.aggregate(torch.relu(torch.cat([self.now(now), around], dim=-1))) + self.apart(apart)
        h = stem
        for i, block in enumerate(self.blocks):
            if 0 < i <= len(self.later):
                added = self.later[i - 1](now)
            h = block(h + added if i <= len(self.later) else h)
        h = torch.relu(h)
        raw = self.out(h)
        change = raw[:, 1:4]
        if self.from_frames:
            colors = torch.stack([found[:, -COLORS:] for found in (now, before, after)], dim=1)
            blend = (self.pick(h).softmax(-1)[..., None] * colors).sum(1)
            change = change + torch.logit(blend, eps=0.02)
        matter = Matter(to_density(raw[:, 0], self.density_scale), torch.sigmoid(change))
        return Moving(matter, torch.sigmoid(raw[:, 4] - 1))
