"""A trial of a tuning job: the custom job that it is, with its hyperparameters as arguments.

https://cloud.google.com/vertex-ai/docs/training/using-hyperparameter-tuning; what comes of it is
localcloud.vertex.tuning.run's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localcloud.values import to_python
from localcloud.vertex.common import v1
from localcloud.vertex.worker_pools import is_skipped


def custom_job(tuning_job: Any, trial: Any) -> Any:
    """The CustomJob that runs a trial.

    Args:
        tuning_job: The HyperparameterTuningJob.
        trial: The Trial, its id and parameters set.
    """
    job = v1.CustomJob(
        display_name=f"{tuning_job.display_name[:110]}-trial-{trial.id}",
        job_spec=tuning_job.trial_job_spec,
        labels=dict(tuning_job.labels),
    )
    base = job.job_spec.base_output_directory
    if base.output_uri_prefix:
        base.output_uri_prefix = f"{base.output_uri_prefix.rstrip('/')}/{trial.id}"
    given = list(flags(trial.parameters))
    for pool in job.job_spec.worker_pool_specs:
        if not is_skipped(pool):
            getattr(pool, pool.WhichOneof("task")).args.extend(given)
    return job


def flags(parameters: Iterable[Any]) -> Iterable[str]:
    """`--learning_rate=0.1`: one argument each, so that a negative number is not taken for a flag."""
    for parameter in parameters:
        yield f"--{parameter.parameter_id}={to_python(parameter.value)}"
