"""Each repair of Nerfstudio, with and without it, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dyn3d_ns import compat

PLUGINS = "import dyn3d_ns.dataparsers"


def run(code: str, repaired: bool, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code after our plugins were discovered, with the repairs or without them."""
    env = {**os.environ, "DYN3D_NO_COMPAT": "0" if repaired else "1", **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{PLUGINS}\n{code}"],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


SAVE_AS_NERFSTUDIO_DOES = """
import sys, torch
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=1e-2)
config = ExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=100)
scheduler = config.setup().get_scheduler(optimizer, 1e-2)
optimizer.step(); scheduler.step()
torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, sys.argv[1])
state = torch.load(sys.argv[1])
print(float(state["scheduler"]["_last_lr"][0]) == float(scheduler.get_last_lr()[0]))
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_stock_checkpoints_load(tmp_path: Path, repaired: bool) -> None:
    if not repaired and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("this torch checks nothing: install 2.6 or later")
    code = SAVE_AS_NERFSTUDIO_DOES.replace("sys.argv[1]", repr(str(tmp_path / "x.ckpt")))
    result = run(code, repaired)
    if repaired:
        assert result.stdout.strip() == "True", result.stderr
    else:
        assert "Unsupported global" in result.stderr


def test_loading_stays_safe(tmp_path: Path) -> None:
    code = f"""
import os, torch
class Evil:
    def __reduce__(self):
        return (os.system, ("touch {tmp_path}/ran",))
torch.save({{"x": Evil()}}, "{tmp_path}/evil.ckpt")
torch.load("{tmp_path}/evil.ckpt")
"""
    assert "Weights only load failed" in run(code, repaired=True).stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("repaired", [True, False])
def test_ffmpeg_is_found_in_the_wheel(tmp_path: Path, repaired: bool) -> None:
    code = """
import shutil, mediapy, numpy as np
from nerfstudio.utils import install_checks
install_checks.check_ffmpeg_installed()
mediapy.write_video("film.mp4", np.zeros((3, 32, 32, 3)), fps=10)
print(mediapy.read_video("film.mp4").shape, shutil.which("ffmpeg"))
"""
    code = f"import os; os.chdir({str(tmp_path)!r}){code}"
    # A PATH with a shell's folder of nothing: no ffmpeg of the system's.
    result = run(code, repaired, PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    if repaired:
        assert result.stdout.startswith("(3, 32, 32, 3)"), result.stderr
        assert str(tmp_path / "cache") in result.stdout
    else:
        assert result.returncode == 1 and "Could not find ffmpeg" in result.stdout


def test_ffmpeg_of_the_system_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compat.ensure_ffmpeg() == str(own)
    assert os.environ["PATH"] == str(tmp_path)


def test_a_stale_ffmpeg_link_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    link = tmp_path / "cache/dyn3d_ns/bin/ffmpeg"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "an-environment-long-gone/ffmpeg")
    assert compat.ensure_ffmpeg() == str(link)
    assert subprocess.run([str(link), "-version"], capture_output=True, check=True).stdout.startswith(
        b"ffmpeg"
    )


MANY_IMAGES = """
import torch
from nerfstudio.configs import method_configs
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager

class Cameras(list):
    distortion_params = None
    width = height = torch.tensor(2)
    def __getitem__(self, index): return self
    def reshape(self, shape): return self
    def to(self, device): return self

class Dataset(list):
    cameras = Cameras()
    def get_data(self, index, image_type): return {"image": torch.zeros(2, 2, 3)}

manager = object.__new__(FullImageDatamanager)
manager.train_dataset = Dataset(range(501))
manager.device, manager.config = "cpu", type("Config", (), {"cache_images_type": "float32"})
print(len(manager._load_images("train", cache_images_device="cpu")))
"""


@pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="with a driver the stock code works: CUDA_VISIBLE_DEVICES= hides the GPU",
)
@pytest.mark.parametrize("repaired", [True, False])
def test_many_images_need_no_driver(repaired: bool) -> None:
    result = run(MANY_IMAGES, repaired)
    if repaired:
        assert result.stdout.split()[-1] == "501", result.stderr
    else:
        assert "pin" in result.stderr and "501" not in result.stdout


LPIPS = """
import torch
{network}
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
metric = LearnedPerceptualImagePatchSimilarity(normalize=True)
image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
print(float(metric(image, 1 - image)))
"""
NO_NETWORK = """
import socket
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.getaddrinfo = refuse
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_lpips_is_not_downloaded(tmp_path: Path, repaired: bool) -> None:
    result = run(LPIPS.format(network=NO_NETWORK), repaired, TORCH_HOME=str(tmp_path))
    if repaired:
        assert result.stdout.strip() == "nan", result.stderr
        assert "LPIPS is reported as NaN" in result.stderr
    else:
        assert "no network in this test" in result.stderr


def test_lpips_is_computed_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not compat.lpips_weights_available()
    name = torchvision.models.AlexNet_Weights.DEFAULT.url.rsplit("/", 1)[1]
    weights = tmp_path / "hub/checkpoints" / name
    weights.parent.mkdir(parents=True)
    # The published file's name ends in the start of its hash, which torch checks only when it downloads.
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), weights)
    assert compat.lpips_weights_available()
    result = run(LPIPS.format(network=NO_NETWORK), True, TORCH_HOME=str(tmp_path))
    assert float(result.stdout) > 0, result.stderr


INTERPOLATE = """
import torch
from nerfstudio.cameras.camera_paths import get_interpolated_camera_path  # bound as in ns-render
from nerfstudio.cameras.cameras import Cameras
from dyn3d_ns import compat
compat.apply()
poses = torch.eye(4)[None, :3].repeat(3, 1, 1)
poses[:, 0, 3] = torch.tensor([0.0, 2.0, 1.0])  # the third stands between the others
cameras = Cameras(poses, 10.0, 10.0, 4.0, 4.0, 8, 8, times=torch.tensor([0.0, 0.4, 0.6]))
for order_poses in (False, True):
    path = get_interpolated_camera_path(cameras, steps=3, order_poses=order_poses)
    times = None if path.times is None else [round(float(path[i].times), 3) for i in range(len(path))]
    print(times, [round(x, 3) for x in path.camera_to_worlds[:, 0, 3].tolist()])
cameras.times = None
assert get_interpolated_camera_path(cameras, steps=3, order_poses=False).times is None
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_interpolated_paths_keep_their_times(repaired: bool) -> None:
    result = run(INTERPOLATE, repaired)
    in_order, by_distance = result.stdout.splitlines()[-2:] if result.stdout else pytest.fail(result.stderr)
    if repaired:
        assert in_order == "[0.0, 0.2, 0.4, 0.4, 0.5, 0.6] [0.0, 1.0, 2.0, 2.0, 1.5, 1.0]"
        assert by_distance == "[0.0, 0.3, 0.6, 0.6, 0.5, 0.4] [0.0, 0.5, 1.0, 1.0, 1.5, 2.0]"
    else:
        assert in_order.startswith("None") and by_distance.startswith("None")


ANOTHER_PROCESS_ENDS = """
import psutil
class Gone:
    def cwd(self):
        raise psutil.NoSuchProcess(1)
psutil.process_iter = lambda: iter([Gone()])
from viser._client_autobuild import ensure_client_is_built
ensure_client_is_built()
print("ready")
"""


@pytest.mark.parametrize("repaired", [True, False])
def test_viewers_start_while_another_process_ends(repaired: bool) -> None:
    result = run(ANOTHER_PROCESS_ENDS, repaired)
    if repaired:
        assert result.stdout.strip() == "ready", result.stderr
    else:
        assert "NoSuchProcess" in result.stderr
