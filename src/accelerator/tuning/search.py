"""A search: the tuning job is submitted and waited for, and its best trial is what the model is trained with.

https://cloud.google.com/vertex-ai/docs/training/using-hyperparameter-tuning
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerator.config import Config
from accelerator.config.sections import Tuning
from accelerator.contract import Discrete, Integer, Parameter
from accelerator.errors import AcceleratorError, CodeError, ConfigError
from accelerator.tuning.space import parameter_spec

_ALGORITHMS = {"bayesian": None, "grid": "grid", "random": "random"}
"""As the SDK names them; None is Vertex AI's own."""


class TuningError(AcceleratorError):
    """The search found nothing to train with."""


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Args:
        job: The tuning job's resource name.
        hyperparameters: Those of the best trial, by name, of the types that search_space declares.
        metric: What the best trial measured.
        trials: How many trials succeeded.
        failed: How many did not.
    """

    job: str
    hyperparameters: dict[str, Any]
    metric: float
    trials: int
    failed: int


def search(config: Config, space: Mapping[str, Parameter], pool: Mapping[str, Any], name: str) -> Found:
    """Search for the hyperparameters with the best `tuning.metric`, and wait for the end.

    Args:
        config: The project, with a `tuning` section.
        space: The search space of its code.
        pool: The worker pool of one trial, as CustomJob takes it.
        name: The display name of the job; its outputs go to a folder of that name.

    Raises:
        ConfigError: No `tuning` section.
        CodeError: No search space.
        TuningError: The job failed, or no trial measured a number.
    """
    from google.cloud import aiplatform

    tuning = config.tuning
    if tuning is None:
        raise ConfigError("There is no tuning section", place=config.place("tuning"), next_step="add `tuning:`")
    if not space:
        raise CodeError(
            f"{config.model.code} has no search_space to tune over",
            place=str(config.directory / config.model.code),
            next_step='add search_space = {"learning_rate": Double(0.01, 0.3, scale="log")}, or leave `tuning` out',
        )
    aiplatform.init(project=config.project, location=config.region, staging_bucket=f"gs://{config.bucket_name}")
    trial = aiplatform.CustomJob(
        display_name=name,
        worker_pool_specs=[dict(pool)],
        base_output_dir=f"gs://{config.bucket_name}/tuning/{name}",
    )
    job = aiplatform.HyperparameterTuningJob(
        display_name=name,
        custom_job=trial,
        metric_spec={tuning.metric: tuning.goal},
        parameter_spec=parameter_spec(space),
        max_trial_count=tuning.trials,
        parallel_trial_count=min(tuning.parallel, tuning.trials),
        max_failed_trial_count=tuning.max_failed or 0,
        search_algorithm=_ALGORITHMS[tuning.algorithm],
        # what train returns is reported last but at step 0, so "last" would miss it
        measurement_selection="best",
        labels={"model": config.model.name},
    )
    try:
        job.run()
    except RuntimeError as error:
        raise TuningError(
            f"The tuning job failed: {error}", place=job.resource_name, next_step=_logs(job.resource_name)
        ) from error
    return best(job.resource_name, job.trials, tuning, space)


def best(job: str, trials: Sequence[Any], tuning: Tuning, space: Mapping[str, Parameter]) -> Found:
    """The best of finished trials.

    Raises:
        TuningError: None of them measured a number.
    """
    measured = [(value, trial) for trial in trials if (value := _value(trial, tuning.metric)) is not None]
    if not measured:
        reasons = {trial.infeasible_reason for trial in trials if trial.infeasible_reason}
        raise TuningError(
            f"None of {len(trials)} trials measured '{tuning.metric}'"
            + "".join(f"\n  | {reason}" for reason in sorted(reasons)[:3]),
            place=job,
            next_step=_logs(job),
        )
    sign = 1 if tuning.goal == "maximize" else -1
    value, trial = max(measured, key=lambda pair: sign * pair[0])
    return Found(
        job=job,
        hyperparameters={p.parameter_id: _typed(p.value, space[p.parameter_id]) for p in trial.parameters},
        metric=value,
        trials=len(measured),
        failed=len(trials) - len(measured),
    )


def _value(trial: Any, metric: str) -> float | None:
    """What a trial measured in the end; None if it failed or measured no number."""
    if trial.state.name != "SUCCEEDED" or not trial.final_measurement:
        return None
    found = {measured.metric_id: measured.value for measured in trial.final_measurement.metrics}
    value = found.get(metric)
    return value if value is not None and math.isfinite(value) else None


def _typed(value: Any, parameter: Parameter) -> Any:
    """A trial's numbers are all doubles."""
    if isinstance(parameter, Integer):
        return int(value)
    if isinstance(parameter, Discrete):
        return next(known for known in parameter.values if math.isclose(known, value, abs_tol=1e-10))
    return value


def _logs(job: str) -> str:
    return f"`mlops logs {job.rpartition('/')[2]}` shows what the trials wrote"
