"""SQL functions: found by path, checked, and put in place of their calls.

JavaScript and remote functions are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .calls import Call
from .casts import cast
from .dialect import parse
from .scope import Scope
from .values import Expr, coerce, coercible

_MAX_DEPTH = 32


def find(path: Sequence[str], scope: Scope) -> Mapping[str, Any] | None:
    """The Routine resource that a path names, or None."""
    return scope.statement.environment.function(path)


def expand(routine: Mapping[str, Any], call: Call) -> Expr:
    """A call of a SQL function as the function's body with the arguments in it."""
    from ..types import Type
    from .expressions import analyze
    from .routine_types import type_from_standard

    statement = call.scope.statement
    name = call.name
    if str(routine.get("language", "SQL")).upper() != "SQL":
        raise statement.refuse(f"The {routine['language']} function {name}", call.node)
    if routine.get("routineType") not in (None, "SCALAR_FUNCTION"):
        raise statement.refuse(f"The {routine['routineType']} {name} in an expression", call.node)
    arguments = routine.get("arguments") or []
    if len(arguments) != len(call):
        raise call.mismatch([name])
    locals_: dict[str, Expr] = {}
    for index, argument in enumerate(arguments):
        value = call.arg(index)
        wanted = argument.get("dataType")
        if wanted:
            type_: Type = type_from_standard(wanted)
            if not coercible(value, type_):
                raise call.mismatch([name])
            value = coerce(value, type_)
        locals_[str(argument["name"]).lower()] = Expr(f"({value.sql})", value.type)
    body = str(routine["definitionBody"])
    statement.depth += 1
    if statement.depth > _MAX_DEPTH:
        raise statement.error(f"Function {name} calls itself", call.node)
    inner = Scope(statement, parent=call.scope, locals=locals_, barrier=True)
    answer = analyze(parse(f"SELECT {body}").expressions[0].unalias(), inner)
    statement.depth -= 1
    returned = routine.get("returnType")
    if returned:
        type_ = type_from_standard(returned)
        fitted = coerce(answer, type_) if coercible(answer, type_) else cast(answer, type_)
        if fitted is None or not (coercible(answer, type_)):
            raise call.error(f"Function {name} declares {type_} but its body gives {answer.type}")
        answer = fitted
    return Expr(f"({answer.sql})", answer.type)
