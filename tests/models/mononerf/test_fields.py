"""The networks: what they depend on, and what the ablation leaves out."""

import torch

from dyn3d_ns.models.mononerf.fields import (
    COLORS,
    LARGEST_MOVE,
    DynamicField,
    Guides,
    ResidualBlock,
    StaticField,
    to_density,
)


def dynamic(from_frames: bool = True) -> DynamicField:
    torch.manual_seed(0)
    return DynamicField(4 + COLORS, 6, 16, 3, 2, 4, 64.0, from_frames)


def guides(points: int = 10) -> Guides:
    return Guides(*(torch.rand(points, 4 + COLORS) for _ in range(3)))


def test_a_residual_block_starts_as_the_identity():
    h = torch.randn(5, 8)
    torch.testing.assert_close(ResidualBlock(8)(h), h)


def test_density_is_positive_and_scales():
    raw = torch.tensor([-50.0, 1.0, 10.0])
    found = to_density(raw, 64.0)
    assert (found >= 0).all()
    torch.testing.assert_close(found, 64 * torch.nn.functional.softplus(raw - 1))


def test_velocity_depends_on_place_time_and_clip_and_is_bounded():
    field = dynamic()
    with torch.no_grad():
        field.move.weight.mul_(30)
    places, times, codes = torch.rand(10, 3), torch.zeros(10, 1), torch.rand(10, 6)
    found = field.velocity(field.stem(places, times, codes))
    assert float(found.detach().abs().max()) <= LARGEST_MOVE
    for other in (
        field.stem(places + 0.1, times, codes),
        field.stem(places, times + 0.1, codes),
        field.stem(places, times, codes + 0.5),
    ):
        assert not torch.allclose(field.velocity(other), found)


def test_density_depends_on_features_of_all_three_frames():
    places, times, codes, seen = torch.rand(10, 3), torch.zeros(10, 1), torch.rand(10, 6), guides()
    field = dynamic()
    with torch.no_grad():
        for block in field.blocks:
            block.second.weight.normal_()
        stem = field.stem(places, times, codes)
        found = field(stem, seen)
        for name in ("now", "before", "after"):
            changed = seen._replace(**{name: getattr(guides(), name)})
            assert not torch.allclose(field(stem, changed).matter.density, found.matter.density)


def test_colors_start_from_those_of_the_frames():
    field = dynamic()
    with torch.no_grad():
        field.out.weight.zero_()
        field.out.bias.zero_()
        color = torch.tensor([0.2, 0.6, 0.9])
        same = torch.cat([torch.rand(4, 4), color.expand(4, 3)], dim=1)
        found = field(
            field.stem(torch.rand(4, 3), torch.zeros(4, 1), torch.rand(4, 6)), Guides(same, same, same)
        )
    torch.testing.assert_close(found.matter.color, color.expand(4, 3))


def test_what_rests_takes_colors_from_frames_that_show_it():
    torch.manual_seed(0)
    field = StaticField(4 + COLORS, 16, 3, 4, 64.0, True)
    with torch.no_grad():
        field.color[2].weight.zero_()
        field.color[2].bias.zero_()
        field.score[2].weight.zero_()
        features = torch.rand(6, 3, 4 + COLORS)
        seen = torch.tensor([[True, False, False]]).expand(6, 3)
        found = field(torch.rand(6, 3), torch.rand(6, 3), features, seen)
    torch.testing.assert_close(found.color, features[:, 0, -COLORS:].clamp(0.02, 0.98), atol=5e-3, rtol=0)


def test_what_rests_does_not_depend_on_the_order_of_its_frames():
    torch.manual_seed(0)
    field = StaticField(4 + COLORS, 16, 3, 4, 64.0, True)
    places, ways, features = torch.rand(6, 3), torch.rand(6, 3), torch.rand(6, 3, 4 + COLORS)
    seen = torch.rand(6, 3) > 0.3
    found = field(places, ways, features, seen)
    other = field(places, ways, features[:, [2, 0, 1]], seen[:, [2, 0, 1]])
    torch.testing.assert_close(found.density, other.density)
    torch.testing.assert_close(found.color, other.color)
