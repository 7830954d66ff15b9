"""The container's command line: its own two flags, and hyperparameters as Vertex AI's tuning passes them.

Both `--learning_rate 0.1` and `--learning_rate=0.1` are read; the types come from the plugged-in code.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from accelerator.contract import Categorical, Discrete, Double, Integer, Parameter
from accelerator.errors import CodeError, ConfigError, suggestion

USAGE = """\
python -m accelerator.training [--config mlops.yaml] [--set key.key=value]... [--HYPERPARAMETER value]...

  --config PATH   the project's mlops.yaml (default: $MLOPS_CONFIG, else mlops.yaml in the working folder)
  --set K=V       a setting that wins over the file's, such as --set data.split.train=..2013-05
  --NAME VALUE    a hyperparameter of the training code; for a script, any argument of its own
"""

GIVEN = ("seed", "checkpoint")
"""Parameters of `train` that the container fills in where they are named."""
_OWN = {"--config", "--set"}


@dataclass
class Arguments:
    """The command line, sorted."""

    config: str | None = None
    overrides: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    """Everything that is not the container's own, in order."""


def split(argv: Sequence[str]) -> Arguments:
    """Take the container's own flags out of the command line.

    Raises:
        ConfigError: One of them has no value.
    """
    found = Arguments()
    tokens = iter(argv)
    for token in tokens:
        name, equals, value = token.partition("=")
        if name not in _OWN:
            found.rest.append(token)
            continue
        if not equals:
            value = next(tokens, "")
        if not value:
            raise ConfigError(f"{name} has no value", place="the command line", next_step=USAGE)
        if name == "--config":
            found.config = value
        else:
            found.overrides.append(value)
    return found


def hyperparameters(
    train: Callable[..., Any],
    space: Mapping[str, Parameter],
    flags: Sequence[str],
    configured: Mapping[str, Any],
    place: str,
) -> dict[str, Any]:
    """The values `train` is called with: of the flags, else of mlops.yaml; its own defaults stay as they are.

    Args:
        train: The plugged-in function.
        space: Its search space, which gives the types.
        flags: The command line without the container's own flags.
        configured: `training.hyperparameters` of mlops.yaml.
        place: The user's file, for an error.

    Raises:
        ConfigError: A flag or setting that `train` does not take, or whose value is not of its type.
        CodeError: A parameter of `train` that nothing gives a value.
    """
    parameters = list(inspect.signature(train).parameters.values())
    keywords = [p for p in parameters[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [p.name for p in keywords if p.name not in GIVEN]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    written = {name: (value, "mlops.yaml, training.hyperparameters") for name, value in configured.items()}
    written |= {name: (value, f"the flag --{name}") for name, value in _pairs(flags)}
    values: dict[str, Any] = {}
    for name, (value, origin) in written.items():
        if name in GIVEN or (name not in known and not takes_any):
            raise ConfigError(
                f"train takes no hyperparameter '{name}'",
                place=origin,
                next_step=suggestion(name, known) or "Add it to the parameters of train.",
            )
        values[name] = _typed(value, space.get(name), _declared(train, name), name, origin)
    missing = [p.name for p in keywords if p.default is p.empty and p.name in set(known) - set(values)]
    if missing:
        raise CodeError(
            f"Nothing gives train a value for {', '.join(missing)}",
            place=place,
            next_step=f"Give it a default in train, a flag (--{missing[0]} …) or a line under "
            "training.hyperparameters in mlops.yaml.",
        )
    return values


def _pairs(flags: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    tokens = iter(flags)
    for token in tokens:
        if not token.startswith("--") or token == "--":
            raise ConfigError(f"Unexpected argument '{token}'", place="the command line", next_step=USAGE)
        name, equals, value = token[2:].partition("=")
        if not equals:
            following = next(tokens, None)
            if following is None:
                raise ConfigError(f"--{name} has no value", place="the command line", next_step=USAGE)
            value = following
        pairs.append((name, value))
    return pairs


def _declared(train: Callable[..., Any], name: str) -> type | None:
    """The type that the signature tells, by annotation or default."""
    try:
        hint = typing.get_type_hints(train).get(name)
    except (NameError, TypeError):
        hint = None
    if hint in (int, float, str, bool):
        return typing.cast(type, hint)
    parameter = inspect.signature(train).parameters.get(name)
    default = parameter.default if parameter is not None else inspect.Parameter.empty
    return type(default) if isinstance(default, int | float | str) else None


def _typed(value: Any, parameter: Parameter | None, declared: type | None, name: str, origin: str) -> Any:
    try:
        match parameter:
            case Integer():
                return _whole(value)
            case Double():
                return float(value)
            case Discrete():
                number = float(value)
                same = [v for v in parameter.values if abs(float(v) - number) <= 1e-10]
                if not same:
                    raise ValueError(f"it is none of {', '.join(str(v) for v in parameter.values)}")
                return same[0]
            case Categorical():
                if str(value) not in parameter.values:
                    raise ValueError(f"it is none of {', '.join(parameter.values)}")
                return str(value)
        if declared is bool:
            return _truth(value)
        if declared is int:
            return _whole(value)
        if declared in (float, str):
            return declared(value)
        return yaml.safe_load(value) if isinstance(value, str) else value
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The hyperparameter '{name}' cannot be '{value}': {error}",
            place=origin,
            next_step="Give a value of the type that search_space or the signature of train declares.",
        ) from None


def _whole(value: Any) -> int:
    # Tuning services pass whole numbers as 8 or as 8.0.
    number = float(value)
    if not number.is_integer():
        raise ValueError("it is no whole number")
    return int(number)


def _truth(value: Any) -> bool:
    texts = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in texts:
        raise ValueError("it is neither true nor false")
    return texts[str(value).lower()]
