"""A compiled pipeline as a typed message: parsed from what was submitted, and looked up by name.

The message classes are KFP's own (localcloud.pipeline_spec); whether the parts fit together is
localcloud.vertex.pipelines.checks' business.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from localcloud.pipeline_spec import messages
from localcloud.vertex.common import invalid


class Spec:
    """A pipeline specification.

    Args:
        struct: `PipelineJob.pipeline_spec` as it was submitted, a google.protobuf.Struct.

    Raises:
        InvalidArgument: It is not a PipelineSpec; the message names the field that is not right.
    """

    def __init__(self, struct: Message) -> None:
        content = json_format.MessageToDict(struct)
        if not content:
            raise invalid("pipeline_job.pipeline_spec", "Required field is not set.")
        _refuse_platforms(content)
        deployment = content.pop("deploymentSpec", None) or content.pop("deploymentConfig", None) or {}
        deployment.pop("@type", None)
        self.message = _parse(content, messages().PipelineSpec(), "pipeline_job.pipeline_spec")
        config = _parse(deployment, messages().PipelineDeploymentConfig(), "pipeline_job.pipeline_spec.deploymentSpec")
        self.executors: dict[str, Any] = dict(config.executors)
        self.components: dict[str, Any] = dict(self.message.components)
        self.name: str = self.message.pipeline_info.name

    @property
    def root(self) -> Any:
        """The ComponentSpec of the whole pipeline."""
        return self.message.root

    def component(self, task: Any) -> Any:
        """The ComponentSpec that a task (PipelineTaskSpec) runs."""
        return self.components[task.component_ref.name]

    def executor(self, component: Any) -> Any:
        """The ExecutorSpec of a component that is no DAG."""
        return self.executors[component.executor_label]


def _parse(content: dict[str, Any], message: Message, field: str) -> Any:
    try:
        return json_format.ParseDict(content, message)
    except json_format.ParseError as error:
        raise invalid(field, f"It does not parse as a KFP v2 {type(message).__name__}: {error}") from None


def _refuse_platforms(content: dict[str, Any]) -> None:
    """A spec wrapped with what is for Kubernetes alone (volumes, secrets, node selectors) is refused by name."""
    if "pipelineSpec" in content or "pipeline_spec" in content:
        platforms = (content.get("platformSpec") or content.get("platform_spec") or {}).get("platforms", {})
        named = f" with settings for {', '.join(sorted(platforms))}" if platforms else ""
        raise invalid(
            "pipeline_job.pipeline_spec",
            f"Here is a PipelineSpec beside a PlatformSpec{named}, which runs on Kubernetes alone. "
            "Submit the PipelineSpec by itself: the first document of the compiled YAML.",
        )
