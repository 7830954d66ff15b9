"""What each component does: a step of accelerator.steps, with its values from the pipeline and back to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.errors import AcceleratorError
from accelerator.pipelines import failures
from accelerator.pipelines.execution import Execution
from accelerator.signature import FILE, Signature
from accelerator.steps.images import Images
from accelerator.storage import folder

_SAMPLE = 200
"""Held-out rows that a canary is asked with, in turn."""


@dataclass(frozen=True)
class Task:
    """A step under way.

    Args:
        config: The project, with the run's project and region.
        execution: Its values.
        run: The name of the pipeline run.
        images: What jobs and endpoints run.
    """

    config: Config
    execution: Execution
    run: str
    images: Images

    def __getitem__(self, name: str) -> Any:
        return self.execution.parameters.get(name)

    def overridden(self, *settings: str) -> Config:
        """The configuration under further settings, `key.key=value` each."""
        own = (f"project={self.config.project}", f"region={self.config.region}")
        return configuration.load(self.config.path, overrides=[*own, *settings])


def preprocess(task: Task) -> None:
    """The raw tables through the team's functions, by Beam."""
    from accelerator.preprocessing import __main__ as command
    from accelerator.preprocessing import run as step

    done = step.run(task.config, task.run, task.images.preprocessing)
    command.tell(done)
    task.execution.output("counts", {source: asdict(counts) for source, counts in done.counts.items()})
    shares = {source: counts.rejected for source, counts in done.counts.items()}
    task.execution.artifact("rejected", metadata=shares)


def training_set(task: Task) -> None:
    """The run's rows and their splits."""
    from accelerator.steps import training_set as step

    given = {name: task[name] for name in ("train", "validation", "test") if task[name]}
    config = task.overridden(*(f"data.split.{name}={value}" for name, value in given.items()))
    made = step.make(config, f"training_set_{task.run}")
    task.execution.output("table", made.table)
    task.execution.output("rows", made.rows)
    task.execution.artifact("training_set", uri=f"bq://{made.table}", metadata={"rows": made.rows})


def validate_data(task: Task) -> None:
    """TensorFlow Data Validation of the training set; what it writes is kept whatever it finds."""
    from accelerator.data_validation import run as step
    from accelerator.steps import training_set as rows

    found = step.run(
        task.overridden(*rows.settings(task["table"])),
        statistics_dir=task.execution.artifact("statistics"),
        report=task.execution.artifact("report"),
    )
    found.require()


def dataset(task: Task) -> None:
    """The Vertex AI dataset of the training set."""
    from accelerator.steps import dataset as step

    made = step.create(task.config, task["table"], task.run)
    task.execution.output("dataset", made.resource_name)
    _resource(task, "vertex_dataset", made.resource_name)


def tune(task: Task) -> None:
    """The search for hyperparameters."""
    from accelerator.steps import training_set as rows
    from accelerator.steps import tune as step

    found = step.tune(task.config, task.images.training, f"{task.run}-tune", rows.settings(task["table"]))
    task.execution.output("hyperparameters", found.hyperparameters)
    assert task.config.tuning is not None
    task.execution.artifact(
        "best_trial",
        metadata={task.config.tuning.metric: found.metric, "trials": found.trials, "failed_trials": found.failed},
    )


def train(task: Task) -> None:
    """Training on the dataset."""
    from google.cloud import aiplatform

    from accelerator.steps import train as step

    aiplatform.init(project=task.config.project, location=task.config.region)
    trained = step.train(
        task.config,
        task.images.training,
        aiplatform.TabularDataset(task["dataset"]),
        f"{task.run}-train",
        task["hyperparameters"],
    )
    task.execution.output("artifact_uri", trained.artifact_uri)
    task.execution.output("job", trained.job)
    task.execution.artifact("model", uri=trained.artifact_uri)
    task.execution.artifact("training_metrics", metadata=trained.metrics)


def validate_model(task: Task) -> None:
    """The gate, with its row in Experiments whatever it says."""
    from accelerator.evaluation import gate, report, results
    from accelerator.steps import register as registry
    from accelerator.steps import training_set as rows

    beat = task.config.validation.beat
    champion = registry.with_alias(task.config, beat) if beat else None
    verdict = gate.evaluate(
        task.overridden(*rows.settings(task["table"])),
        task["artifact_uri"],
        champion.uri if champion else "",
        split=rows.held_out(task["table"], task.config.project, task.config.data.label),
    )
    results.log_run(task.config, verdict, task.run, task["hyperparameters"])
    execution = task.execution
    execution.output("valid", verdict.valid)
    execution.output("reasons", verdict.reasons)
    execution.output("metrics", verdict.metrics)
    execution.write("verdict", json.dumps(verdict.to_json()))
    execution.write("report", report.markdown(verdict, task.config.model.name))
    execution.artifact("evaluation", metadata=report.metrics_metadata(verdict))
    execution.artifact("classification", metadata=report.classification_metadata(verdict))
    print(report.markdown(verdict, task.config.model.name))


def register(task: Task) -> None:
    """The model version, with its evaluation; champion at once where nothing is deployed."""
    from accelerator.evaluation import results
    from accelerator.evaluation.gate import Verdict
    from accelerator.steps import register as step
    from accelerator.steps.train import Trained

    config = task.config
    trained = Trained(task["job"], task["artifact_uri"], task["metrics"])
    model = step.register(config, trained, task.images.prediction)
    verdict = Verdict.of_json(json.loads(task.execution.read("verdict")))
    results.import_evaluation(config, verdict, model, task.run)
    if config.deployment is None:
        step.crown(config, model.version_id)
    task.execution.output("version", model.version_id)
    _resource(task, "vertex_model", f"{model.resource_name}@{model.version_id}")


def deploy(task: Task) -> None:
    """The canary."""
    from accelerator.steps import deploy as step

    canary = step.start_canary(task.config, _model(task))
    for name, value in asdict(canary).items():
        task.execution.output(name, value)


def promote(task: Task) -> None:
    """All traffic for a canary that has shown itself; none for one that has not."""
    from accelerator.steps import deploy as step
    from accelerator.steps import training_set as rows

    canary = step.Canary(task["endpoint"], task["deployed_model"], int(task["share"]), task["former"] or "")
    try:
        uri = _model(task).uri
        signature = Signature.parse(folder(uri).read(FILE) or b"null", f"{uri}/{FILE}")
        columns = [feature.name for feature in signature.features]
        split = rows.held_out(task["table"], task.config.project, task.config.data.label)
        found = rows.sample(task["table"], task.config.project, columns, split, _SAMPLE)
        checked = step.check(task.config, canary, found)
    except BaseException:
        step.withdraw(task.config, canary)
        raise
    step.promote(task.config, canary, task["version"])
    task.execution.artifact("canary", metadata=asdict(checked))


def predict(task: Task) -> None:
    """Batch prediction by a version or the champion."""
    from accelerator.steps import batch

    predicted = batch.predict(task.config, _model(task), task.run, task["source"] or "")
    task.execution.output("predictions", predicted.rows)
    task.execution.artifact("table", uri=f"bq://{predicted.table}", metadata=asdict(predicted))


def record(task: Task) -> None:
    """The run's row, whatever has become of the run."""
    from accelerator.steps import record as step

    status = task["status"]
    status = json.loads(status) if isinstance(status, str) else status
    failure = failures.read(task.config, task.run)
    task.execution.output("row", step.record(task.config, task["job"], status, failure, task.images.tag))


def _model(task: Task) -> Any:
    """The model version that a step is about: by number or alias."""
    from google.cloud import aiplatform

    from accelerator.steps import register as step

    known = step.find(task.config)
    if known is None:
        raise AcceleratorError(
            f"No model {task.config.model.name} is registered",
            place=f"{task.config.project}, {task.config.region}",
            next_step="run the training pipeline first",
        )
    return aiplatform.Model(f"{known.resource_name}@{task['version']}")


def _resource(task: Task, artifact: str, name: str) -> None:
    """An artifact that stands for a resource, as Google's own components write them."""
    uri = f"https://{task.config.region}-aiplatform.googleapis.com/v1/{name}"
    task.execution.artifact(artifact, uri=uri, metadata={"resourceName": name})


_STEPS = (
    preprocess,
    training_set,
    validate_data,
    dataset,
    tune,
    train,
    validate_model,
    register,
    deploy,
    promote,
    predict,
    record,
)
TASKS: Mapping[str, Callable[[Task], None]] = {step.__name__: step for step in _STEPS}
"""By name, what `python -m accelerator.pipelines` does."""
