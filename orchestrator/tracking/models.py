"""Logging of the models of runs to MLflow, as programs of `torch.export`, without pickle."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from reports.store import open_store, search_runs, translate_store_errors
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.training.classifier import TrainedModel

MODEL_NAME = "model"
"""Name of a model in MLflow."""


def log_model(model: TrainedModel, uri: str) -> str:
    """Log the model of a run to its MLflow run, with its signature and an example of its input.

    MLflow reads the logged model without this project. A run that serves several sweeps has several
    MLflow runs; the model is logged to the latest.

    Args:
        model: model of a run.
        uri: URI of the MLflow store.

    Returns:
        Address of the model for `mlflow models`.

    Raises:
        UserError: if the store does not contain the run.
        NalError: if the store cannot be used.
    """
    client = open_store(uri)
    digest = model.spec.digest
    with translate_store_errors(uri):
        experiment_ids = [experiment.experiment_id for experiment in client.search_experiments()]
        query = f"tags.`nal.digest` = '{digest}' and tags.`nal.kind` = 'run'"
        run = next(search_runs(client, experiment_ids, query), None)
    if run is None:
        raise UserError(
            f"MLflow has no run {digest[:12]}: write it with `python -m orchestrator sync` first"
        )
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape, class_count = model.input_format.shape, len(model.class_names)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, class_count))]),
    )
    mlflow.set_tracking_uri(uri)
    with translate_store_errors(uri):
        mlflow.set_experiment(experiment_id=run.info.experiment_id)
        info = Model.log(
            artifact_path=None,
            name=MODEL_NAME,
            flavor=mlflow.pytorch,
            run_id=run.info.run_id,
            pytorch_model=model.portable_classifier(),
            signature=signature,
            input_example=model.example_images().numpy(),
            serialization_format="pt2",
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "torch", "numpy")],
            metadata=model.metadata(),
        )
    return str(info.model_uri)
