from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.backbones.weights import load_weights
from trainables.errors import DataError


def body() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))


def save(path: Path, content: Any) -> str:
    torch.save(content, path)
    return str(path)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved, loaded = body(), body()
    state = saved.state_dict()
    classifier = {"fc.weight": torch.zeros(1000, 4), "fc.bias": torch.zeros(1000)}
    file = tmp_path / "weights.pth"
    save(file, {**state, **classifier})
    load_weights(loaded, str(file), hashlib.sha256(file.read_bytes()).hexdigest(), "fc.")

    assert list(loaded.state_dict()) == list(state)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name])


def test_files_of_old_have_no_count_of_batches(tmp_path: Path) -> None:
    saved, loaded = body(), body()
    state = {k: v for k, v in saved.state_dict().items() if "num_batches" not in k}
    assert len(state) == 6
    name = save(tmp_path / "old.pth", state)
    load_weights(loaded, name, digest_of(name), "fc.")

    assert torch.equal(loaded.get_parameter("conv.weight"), state["conv.weight"])


def digest_of(name: str) -> str:
    """Return the SHA-256 of a file; that of no bytes if it cannot be read."""
    path = Path(name)
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


def error_message(tmp_path: Path, name: str, digest: str | None = None) -> str:
    """Return the message, with `TMP` for the folder; the body must be left unchanged."""
    digest = digest_of(name) if digest is None else digest
    loaded = body()
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    with pytest.raises(DataError) as error:
        load_weights(loaded, name, digest, "fc.")
    assert all(torch.equal(value, before[key]) for key, value in loaded.state_dict().items())
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(tmp_path), "TMP")


def test_a_missing_file(tmp_path: Path) -> None:
    assert error_message(tmp_path, str(tmp_path / "none.pth")) == (
        "weights 'TMP/none.pth' cannot be read (No such file or directory): set weights to a file "
        "written by torch.save, or to '' to start from scratch"
    )
    assert "(Is a directory)" in error_message(tmp_path, str(tmp_path))
    assert error_message(tmp_path, "w.pth") == (
        "weights 'w.pth': give an absolute path, since runs start in different folders"
    )


def test_another_digest(tmp_path: Path) -> None:
    name = save(tmp_path / "w.pth", body().state_dict())
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()

    assert error_message(tmp_path, name, "ABCDEF" * 10 + "0000") == (
        f"weights 'TMP/w.pth' have SHA-256 {digest[:12]}, weights_sha256 says abcdefabcdef: "
        "set weights to the right file, or correct weights_sha256"
    )


def test_a_file_without_its_digest_is_told_it(tmp_path: Path) -> None:
    name = save(tmp_path / "w.pth", body().state_dict())
    assert error_message(tmp_path, name, "") == (
        f"weights 'TMP/w.pth': set weights_sha256 too; the SHA-256 of the file is {digest_of(name)}"
    )


class Harmful:
    """Object that runs code when `pickle.load` reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of a file was run')",))


def test_what_torch_did_not_write(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    save(whole, body().state_dict())
    contents = {
        "empty": b"",
        "text": b"these are no weights\n",
        "cut": whole.read_bytes()[:-200],
        "harmful": pickle.dumps(Harmful(), protocol=2),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert error_message(tmp_path, str(tmp_path / name)) == (
            f"weights 'TMP/{name}' are not a file of tensors written by torch.save: "
            "set weights to such a file, or to '' to start from scratch"
        )


def test_what_is_no_state_dict(tmp_path: Path) -> None:
    for content in ([torch.zeros(2)], {"state_dict": body().state_dict()}, torch.zeros(2)):
        assert error_message(tmp_path, save(tmp_path / "w.pth", content)) == (
            "weights 'TMP/w.pth' are not a state dict, which maps names to tensors: "
            "save model.state_dict()"
        )


def test_weights_of_another_network(tmp_path: Path) -> None:
    state = body().state_dict()
    less = {name: value for name, value in state.items() if name != "norm.running_var"}
    for content, difference in (
        ({**state, "conv.bias": torch.zeros(5)}, "conv.bias has shape (5,) instead of (4,)"),
        (
            {**state, "conv.bias": torch.zeros(4).int()},
            "conv.bias has type torch.int32 instead of torch.float32",
        ),
        (less, "norm.running_var is missing"),
        ({**state, "layer9.weight": torch.zeros(1)}, "the network has no layer9.weight"),
    ):
        assert error_message(tmp_path, save(tmp_path / "w.pth", content)) == (
            f"weights 'TMP/w.pth' do not fit the network: {difference}; "
            "use weights of the same architecture"
        )
