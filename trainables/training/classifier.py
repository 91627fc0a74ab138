"""The model that a finished run leaves behind: from pixels to class probabilities.

It is read from the run's record and its last checkpoint, without the dataset, and can be written as
a file of `torch.export`, which runs wherever PyTorch does, without this project. Nothing is
pickled: checkpoints are read with `weights_only`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, RecordError, UserError
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap
from trainables.run.result import RunResult, Status
from trainables.run_data.input_images import InputFormat
from trainables.run_data.loaders import Normalise
from trainables.training.network import Network, build_network
from trainables.training.trainer import evaluation_batch_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainables.run.record import Record
    from trainables.run.spec import RunSpec

METADATA_FILE = "model.json"
"""Name of the file inside an exported model that describes its input and output."""


class Classifier(nn.Module):
    """A network with the normalisation of its input before it and the softmax of its logits after.

    Attributes:
        network: trained network.
        class_count: number of classes K; further outputs of the network, such as DAC's abstention,
            are left out.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: Network, normalise: Normalise, class_count: int) -> None:
        super().__init__()
        self.network = network
        self.class_count = class_count
        self.register_buffer("scale", normalise.scale)
        self.register_buffer("shift", normalise.shift)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of the classes, float32, shape (b, K).

        Args:
            images: pixels as in the training images, uint8, shape (b, C, H, W).
        """
        logits, _ = self.network(images.float() * self.scale + self.shift)
        probabilities: torch.Tensor = logits[:, : self.class_count].float().softmax(dim=1)
        return probabilities


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """The classifier of a finished run, and what is needed to use it.

    Attributes:
        spec: specification of the run.
        class_names: names of the classes, in the order of the probabilities.
        input_format: size of the images, and how picture files are brought to it.
        classifier: network with normalisation, in evaluation mode.
        mean: mean of each channel that the classifier subtracts from pixels scaled to [0, 1].
        std: standard deviation of each channel by which it divides the difference.
    """

    spec: RunSpec
    class_names: tuple[str, ...]
    input_format: InputFormat
    classifier: Classifier
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @torch.no_grad()
    def predict(self, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
        """Return the probabilities of the classes for some images, shape (n, K).

        The computation is that of the run's evaluations.

        Args:
            images: pixels, uint8, shape (n, C, H, W).
            device: device of the computation.
        """
        classifier = self.classifier.to(device).to(memory_format=torch.channels_last)
        bf16 = self.spec.recipe.precision == "bf16"
        probabilities = []
        for batch in torch.split(
            torch.from_numpy(images), evaluation_batch_size(self.input_format.shape)
        ):
            pixels = batch.to(device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                probabilities.append(classifier(pixels).cpu())
        array: NDArray[np.float32] = torch.cat(probabilities).numpy()
        return array

    def metadata(self) -> dict[str, object]:
        """Return the description of the model that exported files contain, as a JSON object."""
        return {
            "run": self.spec.digest,
            "dataset": self.spec.dataset,
            "method": self.spec.method,
            "scenario": self.spec.scenario,
            "classes": list(self.class_names),
            "input": {
                "dtype": "uint8",
                "shape": ["batch", *self.input_format.shape],
                "short_side": self.input_format.short_side,
            },
            "output": "probability of each class, float32",
            "normalisation": {
                "within": "the model, of pixels divided by 255",
                "mean": list(self.mean),
                "std": list(self.std),
            },
        }

    def export(self) -> bytes:
        """Return a file of `torch.export` with the classifier, for any number of images at a time.

        The exported model computes in float32, on any device. Its file `METADATA_FILE` contains
        `metadata`.
        """
        program = torch.export.export(
            self.portable_classifier(),
            (self.example_images(),),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
        buffer = io.BytesIO()
        metadata = json.dumps(self.metadata(), indent=1)
        torch.export.save(program, buffer, extra_files={METADATA_FILE: metadata})
        return buffer.getvalue()

    def portable_classifier(self) -> Classifier:
        """Return the classifier on the CPU, with weights in the default order of memory."""
        return self.classifier.cpu().to(memory_format=torch.contiguous_format)

    def example_images(self) -> torch.Tensor:
        """Return two black images, an example of the classifier's input."""
        return torch.zeros((2, *self.input_format.shape), dtype=torch.uint8)


def load_model(record: Record) -> TrainedModel:
    """Read the model of a finished run from its record.

    The code of the run's extensions must have been loaded.

    Raises:
        UserError: if the run has not finished.
        RecordError: if the record or its checkpoint is damaged, or an earlier version wrote it,
            which did not store all that is needed.
    """
    result = record.read_result()
    if result is None or not result.is_final:
        raise UserError(
            f"run {record.digest[:12]} has not ended: type its command again to finish it"
        )
    if result.status is not Status.FINISHED:
        raise UserError(
            f"run {record.digest[:12]} has no model: it {result.status}; choose another run"
        )
    spec = result.spec
    if record.is_cleaned:
        raise UserError(
            f"run {record.digest[:12]} has no checkpoint, since its sweep keeps those of its table "
            f"only (keep: table): choose a run of the table, or move the folder {record.folder} "
            "elsewhere and type the command of the sweep again with --set keep=all"
        )
    state = record.read_latest_checkpoint()
    if state is None or state["trainer"]["epoch"] != spec.recipe.epochs:
        raise RecordError(
            f"the checkpoint {record.checkpoint_path} is missing or damaged: delete the folder "
            f"{record.folder} to train the run again"
        )
    input_format = _input_format(result)
    class_count = len(result.class_names)
    network = build_network(
        spec.backbone,
        _without_initial_weights(spec),
        input_format.shape,
        method_of(spec.method).output_count(class_count),
        spec.seeds.init,
    )
    network.load_state_dict(state["trainer"]["network"])
    normalise = Normalise(result.mean, result.std, torch.device("cpu"))
    classifier = Classifier(network, normalise, class_count).eval()
    return TrainedModel(spec, result.class_names, input_format, classifier, result.mean, result.std)


def _input_format(result: RunResult) -> InputFormat:
    """Return the format of a run's input images.

    Raises:
        RecordError: if the record does not contain it, or lacks the normalisation or the names of
            the classes.
    """
    spec = result.spec
    source = source_of(spec.dataset)
    shape = result.input_shape
    # A record of an earlier version; how pictures were resized is not known there.
    if not shape and not source.has_picture_files:
        try:
            shape = spec.recipe.input_shape(source.image_shape)
        except FieldError:
            shape = ()
    if not (shape and result.class_names and result.mean):
        raise RecordError(
            f"the record of run {result.digest[:12]} was written by an earlier version, which did "
            "not store the input size, the names of the classes and the normalisation: train the "
            "run again with another --home"
        )
    channels, height, width = shape
    return InputFormat((channels, height, width), result.short_side, source.has_picture_files)


def _without_initial_weights(spec: RunSpec) -> FrozenMap:
    """Return the settings of a run's backbone without the file of its initial weights."""
    defaults = {
        parameter.name: parameter.default
        for parameter in backbone_of(spec.backbone).parameters
        if parameter.name in ("weights", "weights_sha256")
    }
    return FrozenMap({**spec.backbone_parameters, **defaults})
