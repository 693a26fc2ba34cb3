"""Which pixels some view saw at rest."""

import torch

from dyn3d_ns.models.das3r.coverage import seen_at_rest
from tests.video.cards import PILLAR, WALL, CardClip


def test_what_is_hidden_or_moves_in_every_view_counts_as_unseen() -> None:
    clip = CardClip((WALL, PILLAR), frames=3, camera_step=(0.3, 0, 0))
    depths = [torch.from_numpy(depth) for depth in clip.depths]
    viewmats = torch.from_numpy(clip.poses).inverse().float()
    K = torch.from_numpy(clip.K).float()
    K[:2, 2] += 0.5
    static = torch.ones(2, 96, 128)
    # The third view looks at what the first two have seen.
    others = (static, depths[:2], viewmats[:2], K.repeat(2, 1, 1))
    seen = seen_at_rest(depths[2], viewmats[2], K, *others)
    beyond = 110 * 0.3 / 6  # the strip that comes in on the right, pixels on the wall
    assert not seen[:, -int(beyond) + 1 :].any()
    assert seen[10, 60:100].all()
    hidden = ~seen[48, :120]
    assert 0 < int(hidden.sum()) < 30, "wall that the pillar hid from both"
    static[:, 20:30, :] = 0
    assert not seen_at_rest(depths[2], viewmats[2], K, *others)[22:28].any()
