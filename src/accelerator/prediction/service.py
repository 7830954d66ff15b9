"""Requests to answers: the bytes of bodies in, the bytes of predictions or a Failure out, several at a time.

Runs in the model's thread and knows neither HTTP nor queues; what one model call needs is `tabular`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from accelerator.contract import place_of
from accelerator.errors import AcceleratorError, CodeError
from accelerator.prediction.artifact import Artifact
from accelerator.prediction.failures import Failure
from accelerator.prediction.logs import log, stack
from accelerator.prediction.tabular import Output, TabularPredictor

Answer = bytes | Failure


@dataclass(frozen=True)
class Request:
    """One request's body, parsed."""

    instances: list[Any]
    parameters: dict[str, Any]
    content: dict[str, Any]
    """The body as a whole, which is what a Predictor's `preprocess` gets."""


class Service:
    """A loaded model with the code around it.

    Args:
        predictor: What answers: the TabularPredictor, or a team's class on top of it.
        folder: The artifact's folder, to point at the line of the team's code that raised.
    """

    def __init__(self, predictor: TabularPredictor, folder: Path) -> None:
        self._predictor = predictor
        self._folder = folder
        self.batches = not (_own(predictor, "preprocess") or _own(predictor, "predict"))
        """Whether instances of several requests may share a model call."""
        self._own_postprocess = _own(predictor, "postprocess")

    @classmethod
    def load(cls, artifact: Artifact) -> Service:
        """Load the model, as the Predictor says.

        Raises:
            AcceleratorError: With what is wrong and what to do next.
        """
        predictor = _compose(artifact.predictor)
        if artifact.signature is not None:
            predictor.prepare_columns(artifact.signature)
        try:
            predictor.load(str(artifact.folder))
        except AcceleratorError:
            raise
        except (Exception, SystemExit) as error:
            raise CodeError(
                f"Predictor.load raised {type(error).__name__}: {error}",
                place=place_of(error, artifact.folder),
                next_step=f"correct it; {artifact.folder} is the folder it was called with",
            ) from error
        service = cls(predictor, artifact.folder)
        service.warm_up()
        return service

    def warm_up(self) -> None:
        """Predict a made-up instance, so that no client waits for what libraries do at their first call."""
        if not self.batches or self._predictor.signature is None:
            return
        instance = self._predictor.made_up()
        try:
            self._predictor.call_model(self._predictor.checked_frame([instance], {}), "scores")
        except Exception:
            # Not every model can take any value of its features' types; its first request will tell.
            return

    def parse(self, body: bytes) -> Request:
        """Read a request's body.

        Raises:
            Failure: 400 for what is no JSON, or not of the form `{"instances": [...]}`.
        """
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Failure(
                400, f'The body is not JSON: {error}. Send {{"instances": [...], "parameters": {{...}}}}.'
            ) from None
        if not isinstance(content, dict) or "instances" not in content:
            raise Failure(400, 'The body must be an object with instances: {"instances": [...]}.')
        instances, parameters = content["instances"], content.get("parameters")
        if not isinstance(instances, list):
            raise Failure(400, f"instances must be an array, not {type(instances).__name__}.")
        if self.batches and not instances:
            raise Failure(400, "instances is empty: send at least one instance.")
        if parameters is not None and not isinstance(parameters, dict) and self.batches:
            raise Failure(400, "parameters must be an object.")
        return Request(instances, parameters or {}, content)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, with as few model calls as can be; faults of one leave the others alone."""
        if not self.batches:
            return [self._guard(self._answer_alone, request) for request in requests]
        answers: list[Answer | None] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            try:
                groups.setdefault(self._group(request), []).append(index)
            except Failure as failure:
                answers[index] = failure
        for (output, *_), members in groups.items():
            batch = [requests[index] for index in members]
            for index, answer in zip(members, self._answer_batch(batch, output), strict=True):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def _group(self, request: Request) -> tuple[Any, ...]:
        """What requests must have in common to share a model call; the output comes first."""
        parameters = request.parameters
        if not parameters:
            return (self._predictor.output_of(parameters), type(request.instances[0]))
        # A postprocess of the team's own gets scores, and its parameters are the team's to read.
        output: Output = "scores" if self._own_postprocess else self._predictor.output_of(parameters)
        leniency = tuple(str(parameters.get(name)) for name in ("unknown_features", "missing_features"))
        return (output, type(request.instances[0]), *leniency)

    def _answer_batch(self, requests: list[Request], output: Output) -> list[Answer]:
        predictor = self._predictor
        try:
            frame = self._frame(requests)
            if frame is None:
                return self._answer_those_that_fit(requests, output)
            results = predictor.call_model(frame, output)
        except Exception as error:
            if len(requests) == 1:
                return [self._failed(error)]
            # By halves: however many share a call, one of them at fault costs the others few more calls.
            half = len(requests) // 2
            return self._answer_batch(requests[:half], output) + self._answer_batch(requests[half:], output)
        answers, start = [], 0
        for request in requests:
            end = start + len(request.instances)
            part = results[start:end]
            answers.append(self._guard(self._answer_part, part))
            start = end
        return answers

    def _frame(self, requests: list[Request]) -> pd.DataFrame | None:
        """The instances of all requests as one frame; None if some of several requests does not fit."""
        instances = [instance for request in requests for instance in request.instances]
        try:
            return self._predictor.checked_frame(instances, requests[0].parameters)
        except Failure:
            if len(requests) == 1:
                raise
            return None

    def _answer_those_that_fit(self, requests: list[Request], output: Output) -> list[Answer]:
        """Refuse the requests that do not fit, each for itself, and predict the others together."""
        refused: dict[int, Answer] = {}
        for index, request in enumerate(requests):
            try:
                self._frame([request])
            except Failure as failure:
                refused[index] = failure
        fitting = [request for index, request in enumerate(requests) if index not in refused]
        answered = iter(self._answer_batch(fitting, output) if fitting else ())
        return [refused[index] if index in refused else next(answered) for index in range(len(requests))]

    def _answer_alone(self, request: Request) -> bytes:
        predictor = self._predictor
        try:
            prepared = predictor.preprocess(request.content)
        except ValueError as error:  # the one way a team's code has to refuse an instance
            raise Failure(400, f"The instances were refused: {error}") from error
        return self._encode(predictor.postprocess(predictor.predict(prepared)))

    def _answer_part(self, results: Any) -> bytes:
        return self._encode(self._predictor.postprocess(results))

    def _encode(self, response: Any) -> bytes:
        if not self._own_postprocess and self.batches:
            return orjson.dumps(response)
        try:  # json refuses NaN, which orjson would silently turn into null
            return json.dumps(response, allow_nan=False, default=_plain, separators=(",", ":")).encode()
        except (ValueError, TypeError) as error:
            raise Failure(
                500,
                f"What the Predictor returned cannot be sent as JSON: {error}. Return finite numbers, "
                "strings, lists and objects of them.",
            ) from error

    def _guard(self, work: Callable[[Any], bytes], given: Any) -> Answer:
        try:
            return work(given)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Failure:
        if isinstance(error, Failure):
            return error
        status, detail = getattr(error, "status_code", None), getattr(error, "detail", None)
        if isinstance(status, int) and 400 <= status < 600:  # an HTTPException, which is how CPR code refuses
            return Failure(status, str(detail))
        place = place_of(error, self._folder)
        where = f" ({Path(place.file).name}, line {place.line})" if place.line else ""
        message = f"The model raised {type(error).__name__}: {error}{where}"
        log("ERROR", message, **stack(error))
        return Failure(500, message)


def _compose(own: type[Any] | None) -> TabularPredictor:
    """The team's class on top of the default one, so that what it leaves out is there."""
    if own is None:
        return TabularPredictor()
    kind = own if issubclass(own, TabularPredictor) else type(own.__name__, (own, TabularPredictor), {})
    try:
        predictor: TabularPredictor = kind()
    except Exception as error:
        raise CodeError(
            f"Predictor() raised {type(error).__name__}: {error}",
            place=own.__module__,
            next_step="let the class be made without arguments, and load what it needs in load",
        ) from error
    return predictor


def _own(predictor: TabularPredictor, name: str) -> bool:
    return getattr(type(predictor), name) is not getattr(TabularPredictor, name)


def _plain(value: Any) -> Any:
    """What json cannot write by itself: numpy's arrays and scalars, pandas' columns."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "to_list"):
        return value.to_list()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    raise TypeError(f"a {type(value).__name__} is no JSON value")
