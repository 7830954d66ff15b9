"""What a component's container is given and gives back: KFP's executor input and executor output.

https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto, ExecutorInput and ExecutorOutput
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerator.storage import folder, local


class Execution:
    """One execution of a component.

    Args:
        executor_input: `{{$}}` of the specification: JSON.
    """

    def __init__(self, executor_input: str) -> None:
        content = json.loads(executor_input)
        self._inputs = content.get("inputs", {})
        self._outputs = content.get("outputs", {})
        self._values: dict[str, Any] = {}
        self._artifacts: dict[str, dict[str, Any]] = {}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of the input parameters, by name."""
        return dict(self._inputs.get("parameterValues", {}))

    def read(self, name: str) -> bytes:
        """The content of an input artifact that is one file."""
        (artifact,) = self._inputs["artifacts"][name]["artifacts"]
        parent, _, file = str(artifact["uri"]).rpartition("/")
        content = folder(parent).read(file)
        if content is None:
            raise FileNotFoundError(artifact["uri"])
        return content

    def output(self, name: str, value: Any) -> None:
        """Give an output parameter its value."""
        if name not in self._outputs.get("parameters", {}):
            raise KeyError(name)
        self._values[name] = value

    def artifact(self, name: str, *, uri: str = "", metadata: Mapping[str, Any] | None = None) -> str:
        """Say what an output artifact holds; gives the URI that the pipeline has chosen for it."""
        (artifact,) = self._outputs["artifacts"][name]["artifacts"]
        made = {key: artifact[key] for key in ("name", "type") if key in artifact}
        made["uri"] = uri or artifact["uri"]
        made["metadata"] = dict(metadata or {})
        self._artifacts[name] = made
        return str(artifact["uri"])

    def write(self, name: str, content: str) -> None:
        """Put a text where an output artifact is."""
        parent, _, file = self.artifact(name).rpartition("/")
        folder(parent).write(file, content.encode())

    def finish(self) -> None:
        """Hand the outputs to the pipeline."""
        output = {
            "parameterValues": self._values,
            "artifacts": {name: {"artifacts": [artifact]} for name, artifact in self._artifacts.items()},
        }
        path = Path(local(self._outputs["outputFile"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(output))
