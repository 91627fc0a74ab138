from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch
from networks import CIFAR, Plain, assert_same, build, count, give_statistics
from torchvision.models import resnet

from trainables.errors import DataError, FieldError

if TYPE_CHECKING:
    from pathlib import Path


def plain_block(plain: Plain, x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
    y = plain.normalise(plain.convolve(x, f"{name}.conv1", stride), f"{name}.bn1").relu()
    y = plain.normalise(plain.convolve(y, f"{name}.conv2"), f"{name}.bn2")
    if stride == 2:
        x = plain.convolve(x, f"{name}.downsample.0", 2, padding=0)
        x = plain.normalise(x, f"{name}.downsample.1")
    return (x + y).relu()


def test_resnet34_is_the_one_written_out_here() -> None:
    network = build("resnet34").eval()
    images = torch.randn(2, *CIFAR, generator=give_statistics(network))
    plain = Plain(network)
    x = plain.normalise(plain.convolve(images, "conv1"), "bn1").relu()
    assert x.shape[2:] == (32, 32)
    for stage, blocks in enumerate([3, 4, 6, 3], start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            x = plain_block(plain, x, f"layer{stage}.{block}", stride)
    assert x.shape[1:] == (512, 4, 4)

    with torch.no_grad():
        assert_same(network(images), plain.heads(x.mean(dim=(2, 3))))
    assert count(network.attention) == 513


def test_the_small_resnet_is_the_one_written_out_here() -> None:
    network = build("resnet-w16").eval()
    images = torch.randn(3, *CIFAR, generator=give_statistics(network))
    plain = Plain(network)
    x = plain.normalise(plain.convolve(images, "0"), "1").relu()
    for block in range(9):
        x = plain_block(plain, x, str(3 + block), 2 if block in {3, 6} else 1)
        assert x.shape[1:] == ((16, 32, 32), (32, 16, 16), (64, 8, 8))[block // 3]

    with torch.no_grad():
        assert_same(network(images), plain.heads(x.mean(dim=(2, 3))))
    assert count(network) < 300_000


@pytest.mark.slow
def test_resnet50_is_that_of_torchvision_and_starts_from_a_file(tmp_path: Path) -> None:
    reference = resnet.resnet50(weights=None).eval()
    images = torch.randn(2, 3, 64, 96, generator=give_statistics(reference))
    file = tmp_path / "weights.pth"
    torch.save(reference.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    values = {"weights": str(file), "weights_sha256": digest.upper()}
    network = build("resnet50", (3, 64, 96), outputs=14, values=values).eval()
    scratch = build("resnet50", (3, 64, 96), outputs=14).eval()

    assert torch.equal(network.prediction.weight, scratch.prediction.weight)
    reference.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(network.features(images), reference(images))
        assert not torch.equal(scratch.features(images), reference(images))
        assert network.features(images).shape == (2, 2048)


def test_a_digest_without_weights_is_refused() -> None:
    with pytest.raises(DataError, match=r"^weights_sha256 is set, but weights is not: set weights"):
        build("resnet50", values={"weights_sha256": "00"})


@pytest.mark.parametrize("name", ["resnet50", "resnet-w16"])
def test_small_images_are_refused(name: str) -> None:
    with pytest.raises(FieldError, match=f"backbone {name} takes images of .*, got 3×31×64"):
        build(name, (3, 31, 64))


def test_weights_with_another_digest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"")

    with pytest.raises(DataError, match=r"SHA-256 e3b0c44298fc, weights_sha256 says 00: set"):
        build("resnet50", values={"weights": str(tmp_path / "w.pth"), "weights_sha256": "00"})
