"""What is refused when a pipeline is submitted: parts that do not fit together, and inputs that it does not have.

Errors name the task and the field; the language itself is localcloud.vertex.pipelines.spec's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from localcloud.vertex.common import invalid
from localcloud.vertex.pipelines.spec import Spec
from localcloud.vertex.pipelines.values import WrongType, check, from_legacy, from_proto, type_of

MAXIMUM_TASKS = 10_000
"""Tasks of one run (https://cloud.google.com/vertex-ai/docs/quotas#pipelines)."""
_FIELD = "pipeline_job.pipeline_spec"


def check_spec(spec: Spec) -> None:
    """Refuse a specification whose parts do not fit together.

    Raises:
        InvalidArgument: A component, executor, task or input that is named and not there, or a cycle.
    """
    if not spec.name:
        raise invalid(f"{_FIELD}.pipelineInfo.name", "Required field is not set.")
    if not spec.root.HasField("dag"):
        raise invalid(f"{_FIELD}.root", "The root must be a DAG: it has no field `dag`.")
    _check_dag(spec, spec.root, "root")
    for name, component in spec.components.items():
        place = f"components.{name}"
        kind = component.WhichOneof("implementation")
        if kind == "dag":
            _check_dag(spec, component, place)
        elif kind is None:
            raise invalid(f"{_FIELD}.{place}", "The component has neither a `dag` nor an `executorLabel`.")
        elif component.executor_label not in spec.executors:
            raise _missing(f"{place}.executorLabel", "executor", component.executor_label, spec.executors)
        elif spec.executor(component).WhichOneof("spec") is None:
            raise invalid(
                f"{_FIELD}.deploymentSpec.executors.{component.executor_label}",
                "The executor is none of container, importer, resolver and customJob.",
            )
    _check_nesting(spec)


def root_inputs(spec: Spec, config: Any) -> dict[str, Any]:
    """The pipeline's parameters from its defaults and a PipelineJob.RuntimeConfig.

    Raises:
        InvalidArgument: One is not known, missing or of another type.
    """
    definitions = spec.root.input_definitions.parameters
    given = {name: from_legacy(value) for name, value in config.parameters.items()}
    given |= {name: from_proto(value) for name, value in config.parameter_values.items()}
    field = "pipeline_job.runtime_config.parameter_values"
    for name in given:
        if name not in definitions:
            near = _nearest(name, definitions)
            raise invalid(field, f"The pipeline `{spec.name}` has no parameter `{name}`.{near}")
    values: dict[str, Any] = {}
    for name, definition in definitions.items():
        if given.get(name) is not None:
            value = given[name]
        elif definition.HasField("default_value"):
            value = from_proto(definition.default_value)
        elif definition.is_optional:
            continue
        else:
            raise invalid(field, f"The pipeline `{spec.name}` needs a value for its parameter `{name}`.")
        try:
            values[name] = check(value, type_of(definition)) if value is not None else None
        except WrongType as error:
            raise invalid(field, f"Parameter `{name}` of the pipeline `{spec.name}` {error}.") from None
        literals = [from_proto(literal) for literal in definition.literals]
        if literals and values[name] not in literals:
            raise invalid(field, f"Parameter `{name}` must be one of {literals}, not {values[name]!r}.")
    return values


def check_artifact_inputs(spec: Spec, config: Any) -> None:
    """Refuse input artifacts that the pipeline does not have, or lacks.

    Raises:
        InvalidArgument: Naming the artifact.
    """
    definitions = spec.root.input_definitions.artifacts
    field = "pipeline_job.runtime_config.input_artifacts"
    for name in config.input_artifacts:
        if name not in definitions:
            near = _nearest(name, definitions)
            raise invalid(field, f"The pipeline `{spec.name}` has no input artifact `{name}`.{near}")
    for name, definition in definitions.items():
        if name not in config.input_artifacts and not definition.is_optional:
            raise invalid(field, f"The pipeline `{spec.name}` needs the input artifact `{name}`.")


def upstream(task: Any) -> set[str]:
    """The names of the tasks that a PipelineTaskSpec waits for."""
    found = set(task.dependent_tasks)
    for source in task.inputs.parameters.values():
        kind = source.WhichOneof("kind")
        if kind == "task_output_parameter":
            found.add(source.task_output_parameter.producer_task)
        elif kind == "task_final_status":
            found.add(source.task_final_status.producer_task)
    for source in task.inputs.artifacts.values():
        if source.WhichOneof("kind") == "task_output_artifact":
            found.add(source.task_output_artifact.producer_task)
    return found


def _check_dag(spec: Spec, component: Any, place: str) -> None:
    tasks = component.dag.tasks
    if not tasks:
        raise invalid(f"{_FIELD}.{place}.dag.tasks", "The DAG has no tasks.")
    for name, task in tasks.items():
        here = f"{place}.dag.tasks.{name}"
        if task.component_ref.name not in spec.components:
            raise _missing(f"{here}.componentRef.name", "component", task.component_ref.name, spec.components)
        for other in upstream(task):
            if other not in tasks:
                raise _missing(f"{here}.dependentTasks", "task", other, tasks)
    for name, task in tasks.items():
        _check_inputs(spec, component, task, f"{place}.dag.tasks.{name}")
    _check_cycles({name: upstream(task) for name, task in tasks.items()}, place)
    for name, task in _selected(component.dag.outputs):
        if task not in tasks:
            raise _missing(f"{place}.dag.outputs.{name}", "task", task, tasks)


def _check_inputs(spec: Spec, component: Any, task: Any, here: str) -> None:
    """The inputs of a task: each comes from something that is there, and none that it must have is missing."""
    tasks, own = component.dag.tasks, component.input_definitions
    for name, source in task.inputs.parameters.items():
        kind = source.WhichOneof("kind")
        field = f"{here}.inputs.parameters.{name}"
        if kind == "component_input_parameter" and source.component_input_parameter not in own.parameters:
            raise _missing(field, "input parameter", source.component_input_parameter, own.parameters)
        if kind == "task_output_parameter":
            output = source.task_output_parameter
            outputs = spec.component(tasks[output.producer_task]).output_definitions.parameters
            if output.output_parameter_key not in outputs:
                what = f"output parameter of the task `{output.producer_task}`"
                raise _missing(field, what, output.output_parameter_key, outputs)
    for name, source in task.inputs.artifacts.items():
        kind = source.WhichOneof("kind")
        field = f"{here}.inputs.artifacts.{name}"
        if kind == "component_input_artifact" and source.component_input_artifact not in own.artifacts:
            raise _missing(field, "input artifact", source.component_input_artifact, own.artifacts)
        if kind == "task_output_artifact":
            produced = source.task_output_artifact
            outputs = spec.component(tasks[produced.producer_task]).output_definitions.artifacts
            if produced.output_artifact_key not in outputs:
                what = f"output artifact of the task `{produced.producer_task}`"
                raise _missing(field, what, produced.output_artifact_key, outputs)
    wanted = spec.component(task).input_definitions
    iterated = {task.parameter_iterator.item_input, task.artifact_iterator.item_input}
    for name, definition in wanted.parameters.items():
        optional = definition.is_optional or definition.HasField("default_value") or name in iterated
        if not optional and name not in task.inputs.parameters:
            raise invalid(f"{_FIELD}.{here}.inputs.parameters", f"The input parameter `{name}` is missing.")
    for name, artifact in wanted.artifacts.items():
        if not artifact.is_optional and name not in iterated and name not in task.inputs.artifacts:
            raise invalid(f"{_FIELD}.{here}.inputs.artifacts", f"The input artifact `{name}` is missing.")


def _selected(outputs: Any) -> Iterator[tuple[str, str]]:
    """(output, task) for every task that the outputs of a DAG name."""
    for name, parameter in outputs.parameters.items():
        if parameter.WhichOneof("kind") == "value_from_parameter":
            yield f"parameters.{name}", parameter.value_from_parameter.producer_subtask
        for selector in parameter.value_from_oneof.parameter_selectors:
            yield f"parameters.{name}", selector.producer_subtask
    for name, artifact in outputs.artifacts.items():
        for selector in artifact.artifact_selectors:
            yield f"artifacts.{name}", selector.producer_subtask


def _check_cycles(waits_for: dict[str, set[str]], place: str) -> None:
    left = {name: set(others) for name, others in waits_for.items()}
    ready = [name for name, others in left.items() if not others]
    for name in left:
        if name in left[name]:
            raise invalid(f"{_FIELD}.{place}.dag.tasks", f"The task `{name}` waits for itself.")
    followers: dict[str, list[str]] = {}
    for name, others in left.items():
        for other in others:
            followers.setdefault(other, []).append(name)
    while ready:
        done = ready.pop()
        del left[done]
        for follower in followers.get(done, ()):
            left[follower].discard(done)
            if not left[follower]:
                ready.append(follower)
    if left:
        names = ", ".join(f"`{name}`" for name in sorted(left))
        raise invalid(f"{_FIELD}.{place}.dag.tasks", f"The tasks {names} wait for each other in a cycle.")


def _check_nesting(spec: Spec) -> None:
    """A component must not contain itself, at any depth."""
    inside = {
        name: {task.component_ref.name for task in component.dag.tasks.values()}
        for name, component in spec.components.items()
    }
    done: set[str] = set()
    for start in inside:
        path, stack = [], [(start, iter(sorted(inside[start])))]
        while stack:
            name, rest = stack[-1]
            path = [entry for entry, _ in stack]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
            elif following in path:
                raise invalid(f"{_FIELD}.components.{following}", "The component contains itself.")
            elif following not in done:
                stack.append((following, iter(sorted(inside[following]))))


def _missing(place: str, kind: str, name: str, known: Iterable[str]) -> Exception:
    return invalid(f"{_FIELD}.{place}", f"There is no {kind} `{name}`.{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
