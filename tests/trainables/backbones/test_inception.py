from __future__ import annotations

import pytest
import timm
import torch
from networks import build, build_without_memory, give_statistics
from timm.models.inception_resnet_v2 import InceptionResnetV2
from torch import nn


def test_its_normalisations_are_those_of_the_public_code() -> None:
    network = build_without_memory("inception-resnet-v2", 50)
    settings = {(m.eps, m.momentum) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}

    assert settings == {(1e-3, 0.1)}


@pytest.mark.slow
def test_inception_is_that_of_timm_averaged_over_its_map() -> None:
    network = build("inception-resnet-v2", (3, 227, 227), outputs=50).eval()
    images = torch.randn(1, 3, 227, 227, generator=give_statistics(network))
    reference = timm.create_model("inception_resnet_v2", pretrained=False).eval()
    state = network.features.state_dict()
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["classif.weight", "classif.bias"], [])

    with torch.no_grad():
        assert isinstance(reference, InceptionResnetV2)
        maps = reference.forward_features(images)  # type: ignore[no-untyped-call]  # of timm
        assert maps.shape == (1, 1536, 5, 5)
        representation = network.representation(network.features(images))
        torch.testing.assert_close(representation, maps.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)
