"""What the worker process of a batch prediction job is told: where rows come from, what is sent, where it goes.

A plain value that travels as JSON; what fields of the API it is made of is localcloud.vertex.batch.checks' to know.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """One job as the worker does it.

    Args:
        project: The project id in whose name BigQuery is asked.
        root: The state folder, for Cloud Storage's files.
        scratch: A folder for what is not finished yet.
        instances_format: `bigquery`, `jsonl` or `csv`.
        sources: gs:// URIs, which may have wildcards; for `bigquery` the one table, `project.dataset.table`.
        instance_type: `object`, `array` or empty.
        key_field: The field that names an instance in the output; empty for none.
        included: Fields that are sent, in their order; empty for all.
        excluded: Fields that are not sent.
        predictions_format: `bigquery`, `jsonl` or `csv`.
        destination: The gs:// folder; for `bigquery` `project.dataset` or `project.dataset.table`.
        new_dataset: Whether the destination's dataset is to be made.
        location: Of a new dataset.
        suffix: The job's time, with which the output tables are named.
        batch_size: Instances in one request.
        replicas: Serving containers that share the work.
        parameters: `parameters` of each request; None for none.
        predict_route: The path to post to.
    """

    project: str
    root: str
    scratch: str
    instances_format: str
    sources: tuple[str, ...]
    instance_type: str
    key_field: str
    included: tuple[str, ...]
    excluded: tuple[str, ...]
    predictions_format: str
    destination: str
    new_dataset: bool
    location: str
    suffix: str
    batch_size: int
    replicas: int
    parameters: Any
    predict_route: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Plan:
        """The reverse."""
        values = json.loads(line)
        for name in ("sources", "included", "excluded"):
            values[name] = tuple(values[name])
        return cls(**values)
