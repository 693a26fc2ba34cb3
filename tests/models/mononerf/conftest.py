"""Small videos of cameras in a row that look at moving dots, and networks of a few units."""

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from dyn3d_ns.models.mononerf.encoders import SmallEncoder
from dyn3d_ns.models.mononerf.fields import COLORS, DEPTH_CUES, DynamicField, StaticField
from dyn3d_ns.models.mononerf.proposals import Proposals
from dyn3d_ns.models.mononerf.scene import MonoNerfScene
from dyn3d_ns.models.mononerf.videos import Clip, Videos


def row_of_cameras(count: int, width: int, height: int, spacing: float = 0.1) -> Cameras:
    """Cameras side by side that look along -z."""
    poses = torch.eye(4)[:3].repeat(count, 1, 1)
    poses[:, 0, 3] = spacing * (torch.arange(count) - (count - 1) / 2)
    times = torch.linspace(0, 1, count)[:, None]
    return Cameras(poses, 0.9 * width, 0.9 * width, width / 2, height / 2, width, height, times=times)


def small_clip(count: int = 4, width: int = 24, height: int = 16, seed: int = 0) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    images = (255 * torch.rand(count, height, width, 3, generator=generator)).byte()
    moving = torch.zeros(count, height, width, dtype=torch.bool)
    moving[:, 4:9, 6:14] = True
    depth = torch.full((count, height, width), 2.5)
    depth[:, :, :4] = 0
    box = torch.tensor([[-2.0, -2, -4], [2, 2, 0]])
    return Clip(images, moving, row_of_cameras(count, width, height), depth, box, (1.2, 4.0))


def small_scene(
    videos: Videos,
    guided: bool = True,
    integration="euler",
    flow_steps: int = 1,
    depth_cues: bool = True,
    reach: int = 1,
) -> MonoNerfScene:
    torch.manual_seed(3)
    of = (4, 64.0, True)
    return MonoNerfScene(
        videos,
        SmallEncoder(4, 0),
        SmallEncoder(4, 6),
        StaticField(4 + COLORS, 16, 3, *of),
        DynamicField(4 + DEPTH_CUES * depth_cues + COLORS, 6, 16, 3, 2, *of),
        Proposals(videos.num_scenes, len(videos.times), (8, 6, 8)),
        integration,
        flow_steps,
        2,
        guided=guided,
        depth_cues=depth_cues,
        reach=reach,
    )


@pytest.fixture
def videos() -> Videos:
    """Two scenes of another length and size."""
    made = Videos(9, 2)
    made.fill([small_clip(4), small_clip(5, 32, 20, seed=1)])
    return made


def turned(angle: float) -> torch.Tensor:
    """A rotation about y."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
