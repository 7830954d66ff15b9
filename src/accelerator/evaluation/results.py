"""Where results are kept: a row of the model's experiment for every run, an evaluation for every version.

https://cloud.google.com/vertex-ai/docs/experiments, https://cloud.google.com/vertex-ai/docs/evaluation/introduction
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from accelerator.config import Config
from accelerator.evaluation import report
from accelerator.evaluation.gate import Verdict

_SCHEMAS = "gs://google-cloud-aiplatform/schema/modelevaluation"
_SLICES_A_REQUEST = 50
_TO_GOOGLE = {
    "auc": "auRoc",
    "auc_pr": "auPrc",
    "log_loss": "logLoss",
    "rmse": "rootMeanSquaredError",
    "mae": "meanAbsoluteError",
    "r2": "rSquared",
}
"""Our names of metrics as Google's schemas have them; the others are not in the schemas."""


def log_run(config: Config, verdict: Verdict, run: str, hyperparameters: Mapping[str, Any]) -> str:
    """Add a row to the experiment named after the model; gives the run's name.

    Args:
        config: The project.
        verdict: What the gate found, whatever it is.
        run: The name of the pipeline run.
        hyperparameters: What the challenger was trained with.
    """
    from google.cloud import aiplatform

    name = re.sub("[^a-z0-9-]+", "-", run.lower())[-100:].strip("-")
    aiplatform.init(project=config.project, location=config.region, experiment=experiment(config))
    with aiplatform.start_run(name):
        aiplatform.log_params({**hyperparameters, **report.parameters(verdict)})
        if found := report.metrics_metadata(verdict):
            aiplatform.log_metrics({**found})
        if verdict.confusion and len(verdict.classes) > 1:
            aiplatform.log_classification_metrics(
                labels=[str(label) for label in verdict.classes],
                matrix=verdict.confusion,
                display_name="held-out",
                **_curve(verdict),
            )
    return name


def experiment(config: Config) -> str:
    """The experiment of a project's model."""
    return config.model.name.replace("_", "-")


def import_evaluation(config: Config, verdict: Verdict, model: Any, run: str) -> str:
    """Attach the verdict's metrics to a model version; gives the evaluation's resource name.

    Args:
        config: The project.
        verdict: What the gate found.
        model: The google.cloud.aiplatform.Model of the version.
        run: The name of the pipeline run.
    """
    from google.cloud.aiplatform_v1 import ModelServiceClient, types

    client = ModelServiceClient(client_options={"api_endpoint": f"{config.region}-aiplatform.googleapis.com"})
    kind = "classification" if verdict.classes else "regression"
    schema = f"{_SCHEMAS}/{kind}_metrics_1.0.0.yaml"
    metrics = google_metrics(verdict.metrics)
    if verdict.classes:
        matrix = report.classification_metadata(verdict)["confusionMatrix"]
        metrics["confusionMatrix"] = matrix
    made = client.import_model_evaluation(
        parent=f"{model.resource_name}@{model.version_id}",
        model_evaluation=types.ModelEvaluation(
            display_name=run,
            metrics_schema_uri=schema,
            metrics=metrics,
            metadata={"pipeline_run": run, "rows": verdict.rows, "split": verdict.split},
        ),
    )
    parts = [
        types.ModelEvaluationSlice(
            slice_={"dimension": "slice", "value": name},
            metrics_schema_uri=schema,
            metrics=google_metrics(part["metrics"]),
        )
        for name, part in verdict.slices.items()
        if part["metrics"]
    ]
    for start in range(0, len(parts), _SLICES_A_REQUEST):
        client.batch_import_model_evaluation_slices(
            parent=made.name, model_evaluation_slices=parts[start : start + _SLICES_A_REQUEST]
        )
    return str(made.name)


def google_metrics(metrics: Mapping[str, float]) -> dict[str, Any]:
    """Metrics under the names of Google's schemas."""
    found: dict[str, Any] = {_TO_GOOGLE[name]: value for name, value in metrics.items() if name in _TO_GOOGLE}
    at_half = {
        google: metrics[name]
        for name, google in (("precision", "precision"), ("recall", "recall"), ("f1", "f1Score"))
        if name in metrics and "precision" in metrics
    }
    if at_half:
        found["confidenceMetrics"] = [{"confidenceThreshold": 0.5, **at_half}]
    return found


def _curve(verdict: Verdict) -> dict[str, Any]:
    """The ROC curve as Experiments takes it."""
    if not verdict.roc:
        return {}
    threshold, recall, false_positive = zip(*verdict.roc, strict=True)
    return {"fpr": list(false_positive), "tpr": list(recall), "threshold": list(threshold)}
