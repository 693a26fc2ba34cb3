"""Frames, spaces and projections of several scenes."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from dyn3d_ns.geometry.cameras import to_camera, to_world, viewmats_of
from dyn3d_ns.models.mononerf.spaces import space_of, to_homogeneous_world
from dyn3d_ns.models.mononerf.videos import Clip, Videos
from tests.models.mononerf.conftest import row_of_cameras, small_clip, turned


def test_frames_are_counted_through_and_neighbours_stay_within_a_video(videos):
    known = videos.known()
    assert videos.scene_of.tolist() == [0] * 4 + [1] * 5
    every = torch.arange(9)
    assert videos.shifted(every, -1).tolist() == [0, 0, 1, 2, 4, 4, 5, 6, 7]
    assert videos.shifted(every, 1).tolist() == [1, 2, 3, 3, 5, 6, 7, 8, 8]
    assert videos.shifted(every, 3).tolist() == [3, 3, 3, 3, 7, 8, 8, 8, 8]
    torch.testing.assert_close(known.spacing, torch.tensor([1 / 3] * 4 + [1 / 4] * 5))


def test_images_come_back_as_they_were_filled_in(videos):
    clip = small_clip(5, 32, 20, seed=1)
    torch.testing.assert_close(videos.images_of(1), clip.images.permute(0, 3, 1, 2).float() / 255)
    pixel = (torch.tensor([[11, 7]]) + 0.5) / torch.tensor([32, 20])
    color = videos.tables().colors.nearest(torch.tensor([6]), pixel)
    torch.testing.assert_close(color[0], clip.images[2, 7, 11].float() / 255)


def test_the_nearest_frames_by_pose_come_first(videos):
    order = videos.known().order
    assert order.shape == (9, 4)
    assert order[:4, 0].tolist() == [0, 1, 2, 3]
    assert order[0].tolist() == [0, 1, 2, 3]
    assert set(order[8].tolist()) <= set(range(4, 9))


def test_cube_to_world_is_the_spaces_own_map():
    for clip in (small_clip(), _orbit()):
        space = space_of(clip.cameras, clip.box, clip.depths)
        places = 2 * torch.rand(50, 3) - 1
        homogeneous = torch.cat([places, torch.ones(50, 1)], 1) @ to_homogeneous_world(space).T
        torch.testing.assert_close(
            homogeneous[:, :3] / homogeneous[:, 3:], space.to_world(places), rtol=1e-4, atol=1e-4
        )


def test_a_place_of_the_cube_projects_where_its_world_point_does(videos):
    frame = 6
    places = 1.6 * torch.rand(40, 3) - 0.8
    world = videos.space(1).to_world(places)
    seen = to_camera(world, viewmats_of(videos.poses[frame : frame + 1])[0])
    pixels = 0.9 * 32 * seen[:, :2] / seen[:, 2:] + torch.tensor([16.0, 10])
    map_ = videos.known().projections[frame]
    found = places @ map_[:, :3].T + map_[:, 3]
    torch.testing.assert_close(
        found[:, :2] / found[:, 2:] * torch.tensor([32.0, 20]), pixels, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("around", [False, True])
def test_places_know_how_they_lie_to_what_a_frame_shows(around):
    """In normalised device coordinates and in a box, against depths in the camera; the data has 2.5."""
    clip = _orbit() if around else small_clip()
    videos = Videos(len(clip.images), 1)
    videos.fill([clip])
    assert videos.space(0).is_ndc is not around
    frames = torch.tensor([1, 3])
    pixels = torch.rand(2, 200, 2) * torch.tensor([18.0, 14]) + torch.tensor([5.0, 1])
    depths = torch.rand(2, 200) * 1.5 + 1.6
    depths[:, 0], depths[:, 1], depths[:, 2] = 2.5, 2.501, 2.499
    world = torch.empty(2, 200, 3)
    for i, frame in enumerate(frames):
        seen = torch.cat([(pixels[i] - torch.tensor([12.0, 8])) / (0.9 * 24), torch.ones(200, 1)], dim=1)
        world[i] = to_world(
            seen * depths[i, :, None], torch.linalg.inv(viewmats_of(videos.poses[frame][None]))[0]
        )
    inside = videos.space(0).of_world(world.view(-1, 3)).view(2, 200, 3)
    uv = pixels / torch.tensor([24.0, 16])
    found = videos.depth_cues(inside, frames, uv)
    apart = torch.log(depths / 2.5)
    wanted = [
        (apart / 0.05).tanh(),
        (apart / 0.01).tanh(),
        (-(apart / 0.01).square()).exp(),
        torch.ones(2, 200),
    ]
    torch.testing.assert_close(found, torch.stack(wanted, dim=-1), rtol=0, atol=2e-3)
    assert float(found[:, 0, 2].min()) > 0.999 and bool((found[:, 1, :2] > 0).all())
    unknown, outside = uv.clone(), uv.clone()
    unknown[..., 0], outside[..., 1] = 0.1, 1.01
    for elsewhere in (unknown, outside):
        assert not bool(videos.depth_cues(inside, frames, elsewhere).any())
    if around:
        behind = videos.space(0).of_world(40 * videos.poses[frames, None, :, 3] - 39 * world[:, :1])
        assert not bool(videos.depth_cues(behind, frames, uv[:, :1]).any())


def test_places_beside_a_picture_or_behind_what_it_shows_are_hidden(videos):
    """The data has a depth of 2.5, and none in the left four columns."""
    frame = 6
    cases = [(10.0, 8.0, 2.4, False), (10.0, 8.0, 2.5, False), (10.0, 8.0, 3.0, True), (2.0, 8.0, 3.0, False)]
    cases += [(-1.0, 8.0, 2.0, True), (10.0, 21.0, 2.0, True), (33.0, 8.0, 2.0, True)]
    x, y, depth, wanted = zip(*cases, strict=True)
    flat = torch.stack([(torch.tensor(x) - 16) / 28.8, (torch.tensor(y) - 10) / 28.8, torch.ones(7)], dim=1)
    seen = flat * torch.tensor(depth)[:, None]
    world = to_world(seen, torch.linalg.inv(viewmats_of(videos.poses[frame][None]))[0])
    found = videos.hidden(videos.space(1).of_world(world)[None], torch.tensor([frame]))
    assert found[0].tolist() == list(wanted)


def test_rays_run_through_the_cube_and_meet_points_at_their_depth(videos):
    cameras = small_clip(5, 32, 20, seed=1).cameras
    bundle = cameras[2:3].generate_rays(camera_indices=0, keep_shape=True).flatten()
    starts, ways = videos.rays(1, bundle.origins, bundle.directions)
    torch.testing.assert_close(starts[:, 2], -torch.ones(len(starts)), atol=1e-5, rtol=0)
    torch.testing.assert_close((starts + ways)[:, 2], torch.ones(len(starts)), atol=1e-5, rtol=0)
    assert float(torch.cat([starts, starts + ways])[:, :2].abs().max()) <= 1 + 1e-4
    points = bundle.origins + 2.5 * bundle.directions
    at = videos.depth_places(1, points, starts, ways)
    torch.testing.assert_close(
        videos.space(1).to_world(starts + at[:, None] * ways), points, rtol=1e-4, atol=1e-4
    )


def test_cameras_all_around_have_a_box():
    for clip, looks_ahead in ((_orbit(), False), (small_clip(), True)):
        assert space_of(clip.cameras, clip.box, clip.depths).is_ndc is looks_ahead


def test_a_checkpoint_of_other_shapes_can_be_loaded(videos):
    other = Videos(9, 2)
    state = videos.state_dict()
    other.resize_like({f"x.{name}": value for name, value in state.items()}, "x.")
    other.load_state_dict(state)
    torch.testing.assert_close(other.known().projections, videos.known().projections)


def _orbit() -> Clip:
    clip = small_clip(4)
    poses = torch.stack(
        [torch.cat([turned(a), turned(a) @ torch.tensor([[0.0], [0], [3]])], 1) for a in (0.0, 1.5, 3.0, 4.5)]
    )
    row = row_of_cameras(4, 24, 16)
    cameras = Cameras(poses, row.fx, row.fy, row.cx, row.cy, row.width, row.height, times=row.times)
    return clip._replace(cameras=cameras)
