"""Encoders of video: shapes, what depends on what, weights from files as they are published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.mononerf.encoders import FrozenEncoder, SmallEncoder, VideoEncoder
from dyn3d_ns.models.mononerf.make_encoder import make_encoder
from dyn3d_ns.models.mononerf.slowonly import SlowOnlyEncoder
from dyn3d_ns.models.mononerf.torchvision_encoder import TorchvisionEncoder
from dyn3d_ns.models.mononerf.weights import WeightsError


def frames(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count + height))


def torchvision_file(name: str, folder: Path) -> Path:
    """Write the weights of a network of torchvision with random values, normalisation included."""
    network = models.get_model(name, weights=None)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.8, 1.2, generator=generator)
    path = folder / f"{name}.pth"
    torch.save(network.state_dict(), path)
    return path


def mmaction_name(name: str) -> str:
    """Translate torchvision's name of a tensor of a ResNet into that of mmaction2's ConvModules."""
    name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
    for i in "123":
        name = name.replace(f"bn{i}.", f"conv{i}.bn.")
        name = name.replace(f"conv{i}.weight", f"conv{i}.conv.weight")
    return f"backbone.{name}"


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torchvision_file("resnet50", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def slowonly(resnet50: Path) -> Path:
    """A checkpoint as mmaction2 writes it whose kernels see, in time, the frame in their middle alone."""
    state = {"cls_head.fc_cls.weight": torch.zeros(400, 2048), "cls_head.fc_cls.bias": torch.zeros(400)}
    for name, value in torch.load(resnet50, weights_only=True).items():
        if name.startswith("fc."):
            continue
        if value.ndim == 4:
            deep = name.startswith(("layer3", "layer4")) and ".conv1." in name
            inflated = torch.zeros(*value.shape[:2], 3 if deep else 1, *value.shape[2:])
            inflated[:, :, inflated.shape[2] // 2] = value
            value = inflated  # noqa: PLW2901
        state[mmaction_name(name)] = value
    path = resnet50.with_name("slowonly.pth")
    torch.save({"meta": {"epoch": 256}, "state_dict": state}, path)
    return path


@pytest.mark.parametrize(("count", "height", "width"), [(1, 16, 16), (2, 17, 35), (5, 33, 20)])
def test_small_encoder_takes_any_clip(count: int, height: int, width: int) -> None:
    maps, code = SmallEncoder(channels=12, code=20)(frames(count, height, width))
    assert maps.shape == (count, 12, -(-height // 2), -(-width // 2))
    assert code.shape == (20,)
    maps, code = SmallEncoder(channels=12, code=0)(frames(count, height, width))
    assert maps.shape[1] == 12
    assert code.shape == (0,)


def test_maps_of_the_small_encoder_know_one_frame_alone() -> None:
    encoder, clip = SmallEncoder(), frames(4, 24, 32)
    other = clip.clone()
    other[[0, 1, 3]] = 1 - other[[0, 1, 3]]
    maps, changed = encoder(clip)[0], encoder(other)[0]
    torch.testing.assert_close(maps[2], changed[2])
    torch.testing.assert_close(maps[2], encoder(clip[2:3])[0][0])
    assert float((maps[1] - changed[1]).detach().abs().max()) > 1e-2


def test_code_of_the_small_encoder_knows_the_order_of_the_frames() -> None:
    encoder, clip = SmallEncoder(), frames(4, 24, 32)
    apart = [encoder(clip[order])[1] for order in ([0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0])]
    assert float((apart[0] - apart[1]).detach().abs().max()) > 1e-3
    assert float((apart[0] - apart[2]).detach().abs().max()) > 1e-3
    torch.testing.assert_close(apart[0], encoder(clip)[1], rtol=0, atol=0)


def test_every_parameter_of_the_small_encoder_is_trained() -> None:
    encoder = SmallEncoder()
    assert encoder.trainable
    maps, code = encoder(frames(3, 24, 32))
    (maps.square().mean() + code.square().mean()).backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in encoder.parameters())
    spatial = SmallEncoder(code=0)
    spatial(frames(3, 24, 32))[0].square().mean().backward()
    assert all(p.grad is not None for p in spatial.parameters())


def assert_frozen(encoder: VideoEncoder, clip: Tensor) -> None:
    """Check that a step of training in training mode leaves the network alone and reaches the head."""
    assert not encoder.trainable
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.train()
    maps, code = encoder(clip)
    assert not maps.requires_grad
    code.sum().backward()
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.startswith("head.") for name in trained)
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_slowonly_with_kernels_of_one_frame_is_a_resnet(slowonly: Path, resnet50: Path) -> None:
    encoder = SlowOnlyEncoder(slowonly)
    clip = frames(2, 32, 64)
    maps, pooled = encoder.features(clip)
    assert (maps.shape, pooled.shape) == ((2, 832, 16, 32), (2048,))
    assert encoder.channels == 832
    with torch.device("meta"):
        network = models.resnet50(weights=None)
    network.load_state_dict(torch.load(resnet50, weights_only=True), assign=True)
    network.eval()
    x = (clip - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1) / 255) / (
        torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1) / 255
    )
    with torch.no_grad():
        stem = network.relu(network.bn1(network.conv1(x)))
        res2 = network.layer1(stem)
        res3 = network.layer2(res2)
        res5 = network.layer4(network.layer3(res3))
    torch.testing.assert_close(maps[:, :64], stem, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(maps[:, 64:320], res2, rtol=1e-3, atol=1e-4)
    # Corners align, so that these of the upsampled maps are those of the small ones.
    torch.testing.assert_close(maps[:, 320:, ::15, ::31], res3[:, :, ::7, ::15], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pooled, res5.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert encoder(clip)[1].shape == (256,)
    assert_frozen(encoder, clip)


def test_slowonly_mixes_frames_in_its_last_two_stages_alone(slowonly: Path, tmp_path: Path) -> None:
    saved = torch.load(slowonly, weights_only=True)
    state = saved["state_dict"]
    taps = torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1)
    for name in [n for n, v in state.items() if v.ndim == 5 and v.shape[2] == 3]:
        state[name] = state[name][:, :, 1:2] * taps
    torch.save(saved, tmp_path / "mixing.pth")
    encoder, clip = SlowOnlyEncoder(tmp_path / "mixing.pth"), frames(3, 16, 24)
    maps, pooled = encoder.features(clip)
    torch.testing.assert_close(encoder.features(clip[1:2])[0][0], maps[1], rtol=1e-3, atol=1e-4)
    turned = encoder.features(clip[[1, 0, 2]])[1]
    assert float((turned - pooled).abs().max()) > 1e-3
    spatial = SlowOnlyEncoder(tmp_path / "mixing.pth", code=0)
    torch.testing.assert_close(spatial(clip)[0], maps)
    assert spatial(clip)[1].shape == (0,)
    assert not any(p.requires_grad for p in spatial.parameters())


def test_resnet18_gives_the_maps_of_its_layers(tmp_path: Path) -> None:
    path = torchvision_file("resnet18", tmp_path)
    encoder, clip = TorchvisionEncoder("resnet18", path, code=0), frames(2, 48, 64)
    maps, code = encoder(clip)
    assert (maps.shape, code.shape, encoder.channels) == ((2, 512, 12, 16), (0,), 512)
    network = models.resnet18(weights=None)
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = network.conv1((clip - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        x = network.maxpool(network.relu(network.bn1(x)))
        layer1 = network.layer1(x)
    torch.testing.assert_close(maps[:, :64], x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[:, 64:128], layer1, rtol=1e-4, atol=1e-5)
    assert_frozen(TorchvisionEncoder("resnet18", path, code=8), clip)


@pytest.fixture(scope="module")
def r3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torchvision_file("r3d_18", tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(("name", "channels"), [("r3d_18", 512), ("s3d", 736)])
def test_video_networks_keep_a_map_of_every_frame(
    name: str, channels: int, r3d: Path, tmp_path: Path
) -> None:
    path = r3d if name == "r3d_18" else torchvision_file(name, tmp_path)
    encoder = make_encoder(name, path, code=10)  # type: ignore[arg-type]
    assert encoder.channels == channels
    for clip in (frames(1, 16, 16), frames(5, 18, 33)):
        maps, code = encoder(clip)
        assert maps.shape == (len(clip), channels, -(-clip.shape[2] // 2), -(-clip.shape[3] // 2))
        assert code.shape == (10,)
        assert bool(maps.isfinite().all())
    assert_frozen(encoder, clip)


def test_video_networks_before_their_first_stride_in_time_are_torchvisions(r3d: Path) -> None:
    with torch.device("meta"):
        network = models.get_model("r3d_18", weights=None)
    network.load_state_dict(torch.load(r3d, weights_only=True), assign=True)
    network.eval()
    clip = frames(3, 16, 16)
    mean, std = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    x = ((clip - mean.view(3, 1, 1)) / std.view(3, 1, 1)).transpose(0, 1)[None]
    with torch.no_grad():
        expected = network.layer1(network.stem(x))[0].transpose(0, 1)
    maps = TorchvisionEncoder("r3d_18", r3d, code=0)(clip)[0]
    torch.testing.assert_close(maps[:, 64:128], expected, rtol=1e-4, atol=1e-5)


def test_a_network_without_its_classifier_fits(tmp_path: Path) -> None:
    path = torchvision_file("resnet18", tmp_path)
    state = torch.load(path, weights_only=True)
    bare = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc.") and "num_batches" not in k}
    torch.save(bare, tmp_path / "bare.pth")
    clip = frames(1, 32, 32)
    given = [TorchvisionEncoder("resnet18", p, code=0)(clip)[0] for p in (path, tmp_path / "bare.pth")]
    torch.testing.assert_close(*given)


def test_checkpoint_of_an_encoder_holds_its_network(tmp_path: Path) -> None:
    first = make_encoder("resnet18", torchvision_file("resnet18", tmp_path), code=4)
    other_weights = {
        k: v + 0.01 if v.is_floating_point() else v
        for k, v in torch.load(tmp_path / "resnet18.pth", weights_only=True).items()
    }
    torch.save(other_weights, tmp_path / "other.pth")
    second = make_encoder("resnet18", tmp_path / "other.pth", code=4)
    second.load_state_dict(first.state_dict())
    clip = frames(2, 20, 20)
    for a, b in zip(first(clip), second(clip), strict=True):
        torch.testing.assert_close(a, b)


def test_wrong_files_are_named_with_what_is_wrong_and_the_fix(slowonly: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"slowonly needs a file.*mmaction2.*nothing is downloaded"):
        make_encoder("slowonly", code=8)
    with pytest.raises(WeightsError, match=r"r3d_18 needs a file.*torchvision"):
        make_encoder("r3d_18", code=8)
    with pytest.raises(WeightsError, match=r"nowhere.pth does not exist; give the file.*SlowOnly-R50"):
        make_encoder("slowonly", tmp_path / "nowhere.pth", code=8)
    with pytest.raises(WeightsError, match=r"slowonly.pth does not fit .*resnet18: .* more; give"):
        make_encoder("resnet18", slowonly, code=8)
    with pytest.raises(UserError, match=r"small .* reads no weights, not .*slowonly.pth"):
        make_encoder("small", slowonly, code=8)
    with pytest.raises(UserError, match="'vgg' is unknown; use one of small, slowonly"):
        make_encoder("vgg", slowonly, code=8)  # type: ignore[arg-type]
    (tmp_path / "text.pth").write_text("404: Not Found")
    with pytest.raises(WeightsError, match=r"text.pth cannot be read as the weights of .*resnet18"):
        make_encoder("resnet18", tmp_path / "text.pth", code=8)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list.pth holds a list, not the state dict"):
        make_encoder("resnet18", tmp_path / "list.pth", code=8)


def test_a_deeper_network_and_other_shapes_do_not_pass_for_it(tmp_path: Path) -> None:
    path = torchvision_file("resnet34", tmp_path)
    with pytest.raises(WeightsError, match=r"resnet18: layer1.2.conv1.weight belongs to no module"):
        make_encoder("resnet18", path, code=0)
    state = torch.load(path, weights_only=True)
    state["conv1.weight"] = torch.zeros(64, 4, 7, 7)
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"conv1.weight is 64x4x7x7, expected 64x3x7x7"):
        make_encoder("resnet34", path, code=0)


class Payload:
    def __reduce__(self) -> tuple:
        return (print, ("this code was run",))


def test_a_file_that_holds_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": Payload()}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"code.pth cannot be read.*tensors alone"):
        make_encoder("slowonly", tmp_path / "code.pth", code=8)
    assert "this code was run" not in capsys.readouterr().out


def test_small_encoder_is_the_default_choice() -> None:
    encoder = make_encoder("small", code=32)
    assert isinstance(encoder, SmallEncoder)
    assert not isinstance(encoder, FrozenEncoder)
    assert (encoder.channels, encoder.code_size) == (16, 32)
