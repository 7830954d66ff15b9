"""The verdict for people and for KFP: Markdown, and the metadata of Metrics and ClassificationMetrics artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accelerator.evaluation.gate import Verdict

_SLICES = 40
"""Slices in the report; the verdict itself has all."""


def markdown(verdict: Verdict, model: str) -> str:
    """The report."""
    lines = [f"# {model}: {'valid' if verdict.valid else 'not valid'}", ""]
    lines += [f"- {_line(reason)}" for reason in verdict.reasons]
    lines += ["", f"On {verdict.rows:,} rows of the {verdict.split} split." if verdict.rows else "", ""]
    if verdict.metrics:
        names = list(verdict.metrics)
        rows = [("challenger", verdict.metrics)]
        rows += [("champion", verdict.champion)] if verdict.champion else []
        rows += list(verdict.baselines.items())
        lines += _table(["", *names], [[who, *(_number(found.get(name)) for name in names)] for who, found in rows])
    if verdict.interval is not None:
        found = verdict.interval
        lines += [
            "",
            f"Challenger against champion, {found.metric}: {found.estimate:+.4f}; {found.confidence:.0%} interval "
            f"{found.low:+.4f} to {found.high:+.4f} ({found.resamples} resamples).",
        ]
    if verdict.slices:
        names = list(verdict.metrics)
        lines += ["", "## Slices", ""]
        lines += _table(
            ["slice", "rows", *names],
            [
                [name, f"{part['rows']:,}", *(_number(part["metrics"].get(metric)) for metric in names)]
                for name, part in list(verdict.slices.items())[:_SLICES]
            ],
        )
        if len(verdict.slices) > _SLICES:
            lines.append(f"\n… of {len(verdict.slices)} slices.")
    if verdict.calibration:
        lines += ["", "## Calibration", ""]
        lines += _table(
            ["score", "share of rows", "mean score", "share of positives"],
            [
                [
                    f"{row['from']:.1f} to {row['to']:.1f}",
                    f"{row['share']:.1%}",
                    f"{row['predicted']:.3f}",
                    f"{row['observed']:.3f}",
                ]
                for row in verdict.calibration
            ],
        )
    return "\n".join(lines) + "\n"


def classification_metadata(verdict: Verdict) -> dict[str, Any]:
    """The metadata of a system.ClassificationMetrics artifact; empty for a regressor."""
    found: dict[str, Any] = {}
    if verdict.confusion:
        names = [{"displayName": str(label)} for label in verdict.classes]
        found["confusionMatrix"] = {"annotationSpecs": names, "rows": [{"row": row} for row in verdict.confusion]}
    if verdict.roc:
        found["confidenceMetrics"] = [
            {"confidenceThreshold": threshold, "recall": recall, "falsePositiveRate": false_positive}
            for threshold, recall, false_positive in verdict.roc
        ]
    return found


def metrics_metadata(verdict: Verdict) -> dict[str, float]:
    """The metadata of a system.Metrics artifact."""
    found = dict(verdict.metrics)
    if verdict.interval is not None:
        name = verdict.interval.metric
        found |= {f"champion_{name}": verdict.champion.get(name, float("nan"))}
        found |= {f"{name}_improvement": verdict.interval.estimate, f"{name}_improvement_low": verdict.interval.low}
    for baseline, metrics in verdict.baselines.items():
        found |= {
            f"{baseline.replace(' ', '_')}_{name}": metrics[name]
            for name in list(verdict.metrics)[:1]
            if name in metrics
        }
    return {name: value for name, value in found.items() if value == value}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [list(head), ["---"] * len(head), *escaped]]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(text: str) -> str:
    return " ".join(text.split())


def parameters(verdict: Verdict) -> Mapping[str, Any]:
    """What an experiment run says of a verdict beside its metrics."""
    return {"valid": str(verdict.valid).lower(), "rows": verdict.rows, "reasons": "; ".join(verdict.reasons)[:500]}
