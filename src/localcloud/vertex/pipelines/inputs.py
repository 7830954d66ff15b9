"""What goes into a task, and what comes out of a DAG or a loop: values found by the selectors of the specification.

Nothing is run here; a value that is not there is an error that names task and field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud.errors import Code
from localcloud.vertex.pipelines.expressions import ExpressionError, select
from localcloud.vertex.pipelines.graph import Dag, Task, TaskFailure, Values
from localcloud.vertex.pipelines.placeholders import Resolver, UnknownPlaceholder, with_names
from localcloud.vertex.pipelines.values import WrongType, convert, from_legacy, from_proto, type_of


def task_inputs(task: Task, root: Values, names: Mapping[str, str], final_status: Any) -> Values:
    """The inputs of a task whose upstream tasks are over.

    Args:
        task: A task of a DAG.
        root: The inputs of the pipeline.
        names: The placeholders without a path, as they stand for this task.
        final_status: Gives the PipelineTaskFinalStatus of a task as JSON.

    Raises:
        TaskFailure: An input has no value, or one of another type.
    """
    assert task.dag is not None
    definitions = task.component.input_definitions
    parameters: dict[str, Any] = {}
    constants: set[str] = set()
    for name, source in task.spec.inputs.parameters.items():
        found, value = _parameter(task, task.dag, name, source, root, final_status)
        if not found:
            continue
        if source.WhichOneof("kind") == "runtime_value":
            constants.add(name)
        if source.parameter_expression_selector:
            try:
                value = select(source.parameter_expression_selector, value)
            except ExpressionError as error:
                raise _failure(task, name, str(error)) from None
        parameters[name] = value
    resolver = Resolver({"inputs": {"parameterValues": parameters}, "outputs": {}}, names)
    for name in constants:
        try:
            parameters[name] = resolver.value(parameters[name])
        except UnknownPlaceholder as error:
            raise _failure(task, name, str(error)) from None
    return Values(_typed(task, parameters, names), _artifacts(task, task.dag, definitions))


def loop_items(task: Task) -> list[Any]:
    """What a looping task loops over: values, or artifacts.

    Raises:
        TaskFailure: It is no list.
    """
    if task.spec.WhichOneof("iterator") == "artifact_iterator":
        return list(task.inputs.artifacts.get(task.spec.artifact_iterator.items.input_artifact, []))
    items = task.spec.parameter_iterator.items
    if items.WhichOneof("kind") == "raw":
        value: Any = items.raw
        where = "items.raw"
    else:
        value = task.inputs.parameters.get(items.input_parameter)
        where = items.input_parameter
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise _failure(task, where, f"the items to loop over are not a JSON list: {value[:80]!r}") from None
    if not isinstance(value, list):
        raise _failure(task, where, f"the items to loop over must be a list, not {json.dumps(value)[:80]}")
    return value


def iteration_inputs(task: Task, item: Any) -> Values:
    """The inputs of one iteration: the loop's own, and the item.

    Raises:
        TaskFailure: The item is not of the type that the component takes.
    """
    values = Values(dict(task.inputs.parameters), dict(task.inputs.artifacts))
    if task.spec.WhichOneof("iterator") == "artifact_iterator":
        values.artifacts[task.spec.artifact_iterator.item_input] = [item]
    else:
        values.parameters[task.spec.parameter_iterator.item_input] = item
        values.parameters = _typed(task, values.parameters, {})
    return values


def dag_outputs(dag: Dag) -> Values:
    """The outputs of a DAG whose tasks are over; those that no task has produced are left out."""
    outputs = Values()
    selectors = dag.owner.component.dag.outputs
    for name, output in selectors.parameters.items():
        if output.WhichOneof("kind") == "value_from_parameter":
            candidates = [output.value_from_parameter]
        else:
            candidates = list(output.value_from_oneof.parameter_selectors)
        for selector in candidates:
            producer = dag.tasks[selector.producer_subtask]
            if producer.state.good and selector.output_parameter_key in producer.outputs.parameters:
                outputs.parameters[name] = producer.outputs.parameters[selector.output_parameter_key]
                break
    definitions = dag.owner.component.output_definitions.artifacts
    for name, selected in selectors.artifacts.items():
        found: list[Any] = []
        for selector in selected.artifact_selectors:
            producer = dag.tasks[selector.producer_subtask]
            produced = producer.outputs.artifacts.get(selector.output_artifact_key) if producer.state.good else None
            found += produced or []
            if produced and not definitions[name].is_artifact_list:
                break  # one of several branches: the one that ran
        if found:
            outputs.artifacts[name] = found
    return outputs


def loop_outputs(task: Task) -> Values:
    """What the iterations of a loop have produced, as lists in the order of the items."""
    assert task.loop is not None
    outputs = Values()
    definitions = task.component.output_definitions
    for name in definitions.parameters:
        outputs.parameters[name] = [
            iteration.outputs.parameters[name]
            for iteration in task.loop.iterations
            if name in iteration.outputs.parameters
        ]
    for name in definitions.artifacts:
        outputs.artifacts[name] = [
            artifact for iteration in task.loop.iterations for artifact in iteration.outputs.artifacts.get(name, [])
        ]
    return outputs


def _parameter(task: Task, dag: Dag, name: str, source: Any, root: Values, final_status: Any) -> tuple[bool, Any]:
    """(whether there is a value, the value) of one input parameter."""
    kind = source.WhichOneof("kind")
    if kind == "task_output_parameter":
        producer = dag.tasks[source.task_output_parameter.producer_task]
        key = source.task_output_parameter.output_parameter_key
        if key in producer.outputs.parameters:
            return True, producer.outputs.parameters[key]
        if _optional(task.component.input_definitions.parameters, name):
            return False, None
        raise _failure(task, name, f"the task `{producer.name}` has not produced its output parameter `{key}`")
    if kind == "component_input_parameter":
        key = source.component_input_parameter
        return key in dag.owner.inputs.parameters, dag.owner.inputs.parameters.get(key)
    if kind == "task_final_status":
        return True, final_status(dag.tasks[source.task_final_status.producer_task])
    if kind == "runtime_value":
        value = source.runtime_value
        which = value.WhichOneof("value")
        if which == "constant":
            return True, from_proto(value.constant)
        if which == "constant_value":
            return True, from_legacy(value.constant_value)
        if which == "runtime_parameter":
            return value.runtime_parameter in root.parameters, root.parameters.get(value.runtime_parameter)
    return False, None


def _artifacts(task: Task, dag: Dag, definitions: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, source in task.spec.inputs.artifacts.items():
        if source.WhichOneof("kind") == "component_input_artifact":
            values = dag.owner.inputs.artifacts.get(source.component_input_artifact)
            what = f"the input artifact `{source.component_input_artifact}` was not given"
        else:
            selector = source.task_output_artifact
            values = dag.tasks[selector.producer_task].outputs.artifacts.get(selector.output_artifact_key)
            what = (
                f"the task `{selector.producer_task}` has not produced its output artifact "
                f"`{selector.output_artifact_key}`"
            )
        if values is not None:
            found[name] = values
        elif name in definitions.artifacts and not definitions.artifacts[name].is_optional:
            raise _failure(task, name, what)
    return found


def _typed(task: Task, parameters: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter as its component declares it, defaults filled in."""
    definitions = task.component.input_definitions.parameters
    found = dict(parameters)
    for name, definition in definitions.items():
        if found.get(name) is None:
            found.pop(name, None)
            if definition.HasField("default_value"):
                found[name] = with_names(from_proto(definition.default_value), names)
        if name in found:
            try:
                found[name] = convert(found[name], type_of(definition))
            except WrongType as error:
                raise _failure(task, name, str(error)) from None
    return found


def _optional(definitions: Any, name: str) -> bool:
    return name in definitions and (definitions[name].is_optional or definitions[name].HasField("default_value"))


def _failure(task: Task, name: str, problem: str) -> TaskFailure:
    return TaskFailure(Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: input `{name}`: {problem}.")
