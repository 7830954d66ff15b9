"""What to try next: a grid, at random, or by Optuna's tree-structured Parzen estimator from what came out so far.

Nothing is remembered between two calls: the trials are told to Optuna anew each time, so that a study goes on after
the end of the process. Optuna is loaded with the first suggestion; an idle server does without it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from localcloud.vertex.common import v1
from localcloud.vertex.vizier.metrics import Metrics
from localcloud.vertex.vizier.space import Node, Space, Value

_TRIES = 10
"""How often a point that was tried already is drawn anew."""
_STARTUP_TRIALS = 6
"""How many results there must be before the estimator takes over from chance."""
_SEARCHED_POINTS = 100_000
"""Up to this size a space without real numbers is searched for a point that is left."""


def suggest(
    spec: Any,
    space: Space,
    metrics: Metrics,
    trials: Sequence[Any],
    wanted: Sequence[Mapping[str, Value]],
    *,
    use_defaults: bool = True,
) -> list[dict[str, Value]]:
    """Choose parameters.

    Args:
        spec: The StudySpec.
        space: Its search space.
        metrics: Its metrics.
        trials: All trials of the study; those under way count too.
        wanted: For each suggestion the values that are given already, often none.
        use_defaults: Whether the first trial of all starts from the parameters' default values.

    Returns:
        As many as wanted; fewer where the search space is exhausted.
    """
    used = {_key(values) for trial in trials if (values := _read(space, trial)) is not None}
    if v1.StudySpec.Algorithm.Name(spec.algorithm) == "GRID_SEARCH":
        return list(_grid(space, used, wanted))
    sampler = _Sampler(spec, space, metrics, trials)
    repeats = v1.StudySpec.ObservationNoise.Name(spec.observation_noise)
    found: list[dict[str, Value]] = []
    for given in wanted:
        start = {}
        if use_defaults and not trials and not found:
            start = {node.path: node.default for node in _nodes(space.roots) if node.default is not None}
        chosen = sampler.draw(given, start)
        for _ in range(0 if repeats == "HIGH" else _TRIES):
            if _key(chosen) not in used:
                break
            chosen = sampler.draw(given, {})
        if _key(chosen) in used and repeats == "LOW":
            # the study's owner says that nothing can be learned from trying the same again
            left = _left(space, used, given)
            if left is None:
                break
            chosen = left
        used.add(_key(chosen))
        found.append(chosen)
    return found


def _grid(space: Space, used: set[Any], wanted: Sequence[Mapping[str, Value]]) -> Iterator[dict[str, Value]]:
    for given in wanted:
        for number in range(space.size()):
            point = space.point(number)
            if _key(point) not in used and all(point.get(name) == value for name, value in given.items()):
                break
        else:
            return
        used.add(_key(point))
        yield point


def _left(space: Space, used: set[Any], given: Mapping[str, Value]) -> dict[str, Value] | None:
    """A point that was not tried yet, any of them; None where there is none, or too many to look for it."""
    if space.has_doubles() or space.size() > _SEARCHED_POINTS:
        return None
    points = (space.point(number) for number in range(space.size()))
    left = [p for p in points if _key(p) not in used and all(p.get(name) == value for name, value in given.items())]
    return random.choice(left) if left else None


def _key(values: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
    return frozenset(values.items())


def _read(space: Space, trial: Any) -> dict[str, Value] | None:
    """The parameters of a trial; None of one that waits with some of them open."""
    if trial.state == v1.Trial.REQUESTED:
        return None
    return space.read(trial.parameters, "trial.parameters")


def _nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(child.node for child in node.children)


class _Sampler:
    """An Optuna study that knows the trials so far."""

    def __init__(self, spec: Any, space: Space, metrics: Metrics, trials: Iterable[Any]) -> None:
        import optuna

        optuna.logging.set_verbosity(logging.WARNING)
        sampler: Any
        if v1.StudySpec.Algorithm.Name(spec.algorithm) == "RANDOM_SEARCH":
            sampler = optuna.samplers.RandomSampler()
        else:
            sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP_TRIALS)
        self._space = space
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(metrics.objectives))
        self._study.add_trials([told for trial in trials if (told := _tell(space, metrics, trial)) is not None])

    def draw(self, given: Mapping[str, Value], start: Mapping[str, Value]) -> dict[str, Value]:
        """A point with the values that are given (by id), else those to start from (by path), else as Optuna draws."""
        trial = self._study.ask()

        def choose(node: Node) -> Value:
            fixed = given.get(node.id, start.get(node.path))
            return decode(node, _draw(trial, node)) if fixed is None else fixed

        return self._space.walk(choose)


def _tell(space: Space, metrics: Metrics, trial: Any) -> Any | None:
    """A trial in Optuna's terms: a result, one that is under way, or (infeasible) one worse than all others."""
    from optuna.trial import TrialState, create_trial

    values = _read(space, trial)
    if values is None:
        return None
    encoded: dict[str, Any] = {}
    distributions: dict[str, Any] = {}

    def note(node: Node) -> Value:
        encoded[node.path], distributions[node.path] = encode(node, values[node.id]), distribution(node)
        return values[node.id]

    space.walk(note)
    told: dict[str, Any] = {"params": encoded, "distributions": distributions}
    if trial.state == v1.Trial.SUCCEEDED:
        told |= {"values": metrics.goodness(trial.final_measurement)}
        told |= {"constraints": metrics.excess(trial.final_measurement)} if metrics.safety else {}
        return create_trial(state=TrialState.COMPLETE, **told)
    # one that was pruned without a value ranks last
    return create_trial(state=TrialState.PRUNED if trial.state == v1.Trial.INFEASIBLE else TrialState.RUNNING, **told)


def distribution(node: Node) -> Any:
    """Where Optuna draws a parameter from; a reverse logarithm is a logarithm seen in a mirror."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if node.kind == "categorical":
        return CategoricalDistribution([str(value) for value in node.values])
    if node.kind == "discrete":
        return IntDistribution(0, len(node.values) - 1)
    log = node.scale != "linear"
    if node.kind == "integer":
        return IntDistribution(int(node.low), int(node.high), log=log)
    return FloatDistribution(node.low, node.high, log=log)


def _draw(trial: Any, node: Node) -> Any:
    found = distribution(node)
    if node.kind == "categorical":
        return trial.suggest_categorical(node.path, found.choices)
    draw = trial.suggest_float if node.kind == "double" else trial.suggest_int
    return draw(node.path, found.low, found.high, log=found.log)


def encode(node: Node, value: Value) -> Any:
    """A parameter's value as its distribution has it."""
    if node.kind == "categorical":
        return value
    if node.kind == "discrete":
        return node.values.index(value)
    return _mirrored(node, value) if node.scale == "reverse_log" else value


def decode(node: Node, drawn: Any) -> Value:
    """The value that was drawn from a parameter's distribution."""
    if node.kind == "categorical":
        return str(drawn)
    if node.kind == "discrete":
        return node.values[int(drawn)]
    value: Value = _mirrored(node, drawn) if node.scale == "reverse_log" else drawn
    return value


def _mirrored(node: Node, value: Any) -> float | int:
    mirrored: float | int = min(max(node.low + node.high - value, node.low), node.high)
    return mirrored
