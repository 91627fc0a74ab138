from __future__ import annotations

import pytest
import torch
from networks import build, build_without_memory, count, give_statistics
from torch import nn
from torchvision.models import vgg

IMAGE = (3, 64, 64)


@pytest.mark.slow
def test_vgg_is_that_of_torchvision_and_its_dropout_is_of_the_seed() -> None:
    network = build("vgg19-bn").eval()
    images = torch.randn(2, *IMAGE, generator=give_statistics(network))
    with torch.device("meta"):
        reference = vgg.vgg19_bn(weights=None, init_weights=False)
    reference.eval()
    state_dict = network.state_dict()
    convolutions, mlp = "features.0.", "representation."
    state = {
        f"features.{k[len(convolutions) :]}": v
        for k, v in state_dict.items()
        if k.startswith(convolutions)
    }
    state |= {f"classifier.{k[len(mlp) :]}": v for k, v in state_dict.items() if k.startswith(mlp)}
    reference.classifier[6] = nn.Identity()
    reference.load_state_dict(state, assign=True)

    with torch.no_grad():
        features = network.features(images)
        assert features.shape == (2, 25_088)
        pooled = reference.avgpool(reference.features(images)).flatten(1)
        torch.testing.assert_close(features, pooled, rtol=1e-5, atol=1e-6)
        representation = network.representation(features)
        assert representation.shape == (2, 4096)
        torch.testing.assert_close(representation, reference(images), rtol=1e-4, atol=1e-6)

        network.representation.train()
        outputs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            outputs.append(network.representation(features))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    share = (outputs[0] != 0).sum() / (representation > 0).sum()
    assert 0.4 < share < 0.65  # a last layer that drops half

    for linear in (network.get_submodule(f"representation.{position}") for position in (0, 3)):
        assert isinstance(linear, nn.Linear)
        assert abs(linear.weight.std().item() - 0.01) < 1e-5
        assert not linear.bias.any()
    first_convolution = network.get_submodule("features.0.0")
    assert isinstance(first_convolution, nn.Conv2d)
    assert first_convolution.bias is not None
    assert abs(first_convolution.weight.std().item() * (64 * 9 / 2) ** 0.5 - 1) < 0.1
    assert not first_convolution.bias.any()


def test_the_second_mlp_is_as_large_as_the_first() -> None:
    network = build_without_memory("vgg19-bn", attention="mlp")

    assert network.parallel is not None
    assert count(network.parallel) == count(network.representation) == 119_545_856
    assert build_without_memory("vgg19-bn").parallel is None
    dropouts = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert dropouts == [0.5] * 4
