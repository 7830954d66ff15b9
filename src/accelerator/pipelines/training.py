"""The training pipeline: from the tables to a champion on the endpoint, through a gate that closes by default.

The compiled file is the same for both targets: project and region of a run are Vertex AI's to say.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# No postponed annotations: KFP reads the pipeline's types off its signature.
from typing import Any

from kfp import dsl

from accelerator.config import Config
from accelerator.pipelines.components import Components


def training_pipeline(config: Config, steps: Components) -> Any:
    """The pipeline of a project, a KFP pipeline to be compiled.

    Args:
        config: Which steps there are: preprocessing, data validation, tuning, deployment and batch prediction are left
            out where their section is.
        steps: The components.
    """

    @dsl.pipeline(
        name=f"{config.model.name}-training",
        description="From the tables to a champion on the endpoint",
        pipeline_root=f"gs://{config.bucket_name}/pipelines",
    )
    def training(train: str = "", validation: str = "", test: str = ""):
        """Windows or fractions of the splits; those of mlops.yaml where they are empty."""
        record = uncached(steps.record(job=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER))
        record.set_display_name("record")
        with dsl.ExitHandler(record, name="run"):
            rows = uncached(steps.training_set(train=train, validation=validation, test=test))
            if config.preprocessing is not None:
                rows.after(uncached(steps.preprocess()))
            table = rows.outputs["table"]
            dataset = uncached(steps.dataset(table=table))
            checked = None
            if config.data_validation is not None:
                checked = uncached(steps.validate_data(table=table))
                dataset.after(checked)
            hyperparameters: Any = dict(config.training.hyperparameters)
            if config.tuning is not None:
                tuned = uncached(steps.tune(table=table))
                if checked is not None:
                    tuned.after(checked)
                hyperparameters = tuned.outputs["hyperparameters"]
            trained = uncached(steps.train(dataset=dataset.outputs["dataset"], hyperparameters=hyperparameters))
            gate = uncached(
                steps.validate_model(
                    table=table, artifact_uri=trained.outputs["artifact_uri"], hyperparameters=hyperparameters
                )
            )
            with dsl.If(gate.outputs["valid"] == True, name="valid"):  # noqa: E712 - KFP's operator
                registered = uncached(
                    steps.register(
                        artifact_uri=trained.outputs["artifact_uri"],
                        job=trained.outputs["job"],
                        metrics=gate.outputs["metrics"],
                        verdict=gate.outputs["verdict"],
                    )
                )
                version = registered.outputs["version"]
                last = registered
                if config.deployment is not None:
                    deployed = uncached(steps.deploy(version=version))
                    last = uncached(
                        steps.promote(
                            version=version,
                            endpoint=deployed.outputs["endpoint"],
                            deployed_model=deployed.outputs["deployed_model"],
                            share=deployed.outputs["share"],
                            former=deployed.outputs["former"],
                            table=table,
                        )
                    )
                if config.batch_prediction is not None:
                    uncached(steps.predict(version=version, source="")).after(last)

    return training


def batch_prediction_pipeline(config: Config, steps: Components) -> Any:
    """Batch prediction by the champion, as a pipeline of its own for schedules and triggers.

    Args:
        config: The project, with a `batch_prediction` section.
        steps: The components.
    """

    @dsl.pipeline(
        name=f"{config.model.name}-batch-prediction",
        description="The champion's predictions of a whole table",
        pipeline_root=f"gs://{config.bucket_name}/pipelines",
    )
    def batch_prediction(source: str = "", version: str = "champion"):
        """The table to predict, mlops.yaml's where it is empty, and the version or alias that predicts."""
        record = uncached(steps.record(job=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER))
        with dsl.ExitHandler(record, name="run"):
            uncached(steps.predict(version=version, source=source))

    return batch_prediction


def uncached(task: Any) -> Any:
    """A task that always runs: tables, registries and endpoints change without its inputs changing."""
    return task.set_caching_options(False)
