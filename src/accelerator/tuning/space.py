"""`search_space` of a team's code as the parameter_spec of a HyperparameterTuningJob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerator.contract import Categorical, Discrete, Double, Integer, Parameter


def parameter_spec(space: Mapping[str, Parameter]) -> dict[str, Any]:
    """What aiplatform.HyperparameterTuningJob takes; a parameter with a condition stands below its parent.

    Returns:
        By name, the google.cloud.aiplatform.hyperparameter_tuning specs.
    """
    return {name: _spec(name, space) for name, parameter in space.items() if not parameter.when}


def _spec(name: str, space: Mapping[str, Parameter]) -> Any:
    from google.cloud.aiplatform import hyperparameter_tuning as hpt

    parameter = space[name]
    children = {child: _spec(child, space) for child, below in space.items() if name in below.when}
    further: dict[str, Any] = {
        "conditional_parameter_spec": children or None,
        "parent_values": list(next(iter(parameter.when.values()))) if parameter.when else None,
    }
    match parameter:
        case Double(minimum, maximum, scale):
            return hpt.DoubleParameterSpec(min=minimum, max=maximum, scale=scale, **further)
        case Integer(minimum, maximum, scale):
            return hpt.IntegerParameterSpec(min=minimum, max=maximum, scale=scale, **further)
        case Discrete(values, scale):
            return hpt.DiscreteParameterSpec(values=list(values), scale=scale, **further)
        case Categorical(values):
            return hpt.CategoricalParameterSpec(values=list(values), **further)
