from __future__ import annotations

import torch
from networks import CIFAR, Plain, assert_same, build, build_without_memory, count, give_statistics

WIDTHS = (64, 128, 256, 512)


def plain_preact(
    plain: Plain, images: torch.Tensor, blocks: tuple[int, ...], *, published: bool
) -> torch.Tensor:
    """Return the representation, shape (b, 512), of the public code or of He et al., ECCV 2016."""
    position = iter(range(100))
    x = plain.convolve(images, str(next(position)))
    if published:
        x = plain.normalise(x, str(next(position))).relu()
        next(position)
    for stage, count_of in enumerate(blocks):
        for block in range(count_of):
            name = str(next(position))
            stride = 2 if stage and not block else 1
            active = plain.normalise(x, f"{name}.norm1").relu()
            if stride == 2:
                shortcut = plain.convolve(active, f"{name}.projection", 2, padding=0)
            else:
                shortcut = active if published else x
            y = plain.convolve(active, f"{name}.conv1", stride)
            y = plain.convolve(plain.normalise(y, f"{name}.norm2").relu(), f"{name}.conv2")
            x = y + shortcut
        assert x.shape[1:] == (WIDTHS[stage], 32 >> stage, 32 >> stage)
    if not published:
        x = plain.normalise(x, str(next(position))).relu()
    return x.mean(dim=(2, 3))


def test_preact34_is_the_one_written_out_here() -> None:
    network = build("preact34").eval()
    images = torch.randn(2, *CIFAR, generator=give_statistics(network))
    plain = Plain(network)
    representation = plain_preact(plain, images, (3, 4, 6, 3), published=False)

    assert bool((representation >= 0).all())  # a ReLU is last
    with torch.no_grad():
        assert_same(network(images), plain.heads(representation))


def test_preact18_is_the_one_written_out_here() -> None:
    network = build("preact18").eval()
    images = torch.randn(2, *CIFAR, generator=give_statistics(network))
    plain = Plain(network)
    representation = plain_preact(plain, images, (2, 2, 2, 2), published=True)

    assert bool((representation < 0).any())  # no ReLU is last
    with torch.no_grad():
        assert_same(network(images), plain.heads(representation))


def test_preact34_has_the_parameters_that_follow_from_its_layers() -> None:
    expected, inputs = 27 * 64, 64
    for width, blocks in zip(WIDTHS, (3, 4, 6, 3), strict=True):
        for _ in range(blocks):
            expected += 2 * inputs + 9 * inputs * width + 2 * width + 9 * width * width
            expected += inputs * width if inputs != width else 0
            inputs = width
    expected += 2 * 512  # the last normalisation

    assert count(build_without_memory("preact34").features) == expected
