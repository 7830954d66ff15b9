"""Instances to one data frame by the model's signature: in whole columns, row by row only to name errors.

What a feature may be is decided here (with `values`); the model and the request around it are not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import pandas as pd

from accelerator.errors import nearest
from accelerator.prediction.failures import Failure, Violation, invalid
from accelerator.prediction.values import Unfit, column_of, describe
from accelerator.signature import Signature

MOST_VIOLATIONS = 20
"""How many faults one answer names: enough to see a pattern, bounded for the log it ends in."""

LONGEST_NAME = 80
"""Characters of an unknown feature's name that are looked at."""


@dataclass(frozen=True)
class Leniency:
    """What a request may ask to be let through; by default nothing is.

    Args:
        unknown: Features the model does not know are dropped.
        missing: Features that are not there count as null.
    """

    unknown: bool = False
    missing: bool = False


STRICT = Leniency()


class Columns:
    """Makes the data frame that a model takes.

    Args:
        signature: Names, types and order of the features.
    """

    def __init__(self, signature: Signature) -> None:
        self._features = signature.features
        self._names = [feature.name for feature in signature.features]
        self._known = frozenset(self._names)
        self._index = pd.Index(self._names)
        self._pick = itemgetter(*self._names) if len(self._names) > 1 else self._pick_one
        self._columns = [column_of(feature) for feature in signature.features]

    def frame(self, instances: Sequence[Any], leniency: Leniency = STRICT) -> pd.DataFrame:
        """The instances as a data frame, in the signature's columns and dtypes.

        Args:
            instances: JSON values: all objects `{feature: value}`, or all arrays in the signature's order.
            leniency: What to let through.

        Raises:
            Failure: 400; the faults are named by instance and feature.
        """
        if not instances:
            raise Failure(400, "instances is empty: send at least one instance.")
        try:
            columns = self._transpose(instances, leniency)
            arrays = [make(values) for make, values in zip(self._columns, columns, strict=True)]
        except Unfit:
            raise self._failure(instances, leniency) from None
        return _frame(arrays, self._index, len(instances))

    def made_up(self) -> list[Any]:
        """An instance that `frame` takes."""
        return [make.example for make in self._columns]

    def _pick_one(self, instance: dict[str, Any]) -> tuple[Any]:
        return (instance[self._names[0]],)

    def _transpose(self, instances: Sequence[Any], leniency: Leniency) -> list[tuple[Any, ...]]:
        """One tuple a feature. The work per instance is done in C."""
        kinds = set(map(type, instances))
        if kinds == {list}:
            if set(map(len, instances)) != {len(self._names)}:
                raise Unfit
            return list(zip(*instances, strict=True))
        if kinds != {dict}:
            raise Unfit
        if leniency.missing:
            return [tuple(instance.get(name) for instance in instances) for name in self._names]
        try:
            rows = list(map(self._pick, instances))
        except KeyError:
            raise Unfit from None
        if not leniency.unknown and set(map(len, instances)) != {len(self._names)}:
            raise Unfit
        return list(zip(*rows, strict=True))

    def _failure(self, instances: Sequence[Any], leniency: Leniency) -> Failure:
        """Find the faults again, one value at a time."""
        every = chain.from_iterable(
            self._faults(index, instance, type(instances[0]), leniency) for index, instance in enumerate(instances)
        )
        found = list(islice(every, MOST_VIOLATIONS + 1))
        return invalid(found[:MOST_VIOLATIONS], more=len(found) > MOST_VIOLATIONS)

    def _faults(self, index: int, instance: Any, kind: type, leniency: Leniency) -> Iterator[Violation]:
        """The faults of one instance, found as they are asked for: a client may send any number of them."""
        if type(instance) is list and kind is list:
            if len(instance) != len(self._names):
                expected = f"an array of {len(self._names)} values ({', '.join(self._names)})"
                yield Violation(index, "", expected, f"{len(instance)} values")
                return
            instance = dict(zip(self._names, instance, strict=True))
        elif type(instance) is not dict or kind is list:
            expected = "an array like the first instance" if kind is list else "an object {feature: value}"
            yield Violation(index, "", expected, describe(instance))
            return
        for feature, make in zip(self._features, self._columns, strict=True):
            if feature.name not in instance and not leniency.missing:
                yield Violation(index, feature.name, make.expected, "nothing: the feature is missing")
            elif not make.accepts(value := instance.get(feature.name)):
                yield Violation(index, feature.name, make.expected, describe(value))
        if not leniency.unknown:
            for name in instance.keys() - self._known:
                close = nearest(name, self._known) if len(name) <= LONGEST_NAME else None
                hint = f" (did you mean {close}?)" if close else ""
                shown = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
                yield Violation(index, shown, f"no feature of this name{hint}", describe(instance[name]))


def _frame(arrays: list[Any], index: pd.Index[Any], rows: int) -> pd.DataFrame:
    frame = pd.DataFrame(dict(enumerate(arrays)), index=pd.RangeIndex(rows), copy=False)
    frame.columns = index
    return frame
