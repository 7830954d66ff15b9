"""The report: one HTML page that needs nothing from elsewhere, with the anomalies in front.

TFDV's own page (Facets) loads its program from two hosts at view time; a sandboxed frame, a closed network and an
archive have neither. So this one has tables and small SVG drawings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

from accelerator.data_validation.results import Dataset, Distance, Feature, Finding, Validated, between, counted

_WIDTH, _HEIGHT = 180, 44
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #202124; background: #fff }
h1 { font-size: 20px; margin: 0 0 4px } h2 { font-size: 16px; margin: 28px 0 8px }
table { border-collapse: collapse } th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0 }
th { font-weight: 600; border-bottom: 1px solid #dadce0 } td { border-bottom: 1px solid #f1f3f4 }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.error { color: #b3261e } .warning { color: #8a5300 } .good { color: #146c2e } .dim { color: #5f6368 }
.numbers { font-size: 12px; color: #5f6368 } svg { display: block } rect { fill: #4285f4 }
.scroll { overflow-x: auto } code { font-size: 12px }
"""


def html(validated: Validated, title: str) -> str:
    """The page.

    Args:
        validated: What came of the validation.
        title: What the page is about, such as the model's name.
    """
    parts = [
        f"<h1>Data validation: {escape(title)}</h1>",
        _verdict(validated),
        "<h2>Anomalies</h2>",
        _anomalies(found for found in validated.findings if found.severity == "error" or not found.comparison),
        "<h2>Data</h2>",
        _datasets(validated.datasets),
    ]
    if validated.distances:
        parts += ["<h2>Skew and drift</h2>", _distances(validated)]
    parts += ["<h2>Features</h2>", _features(validated)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Data validation: {escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def _verdict(validated: Validated) -> str:
    errors, warnings = len(validated.errors), len(validated.warnings)
    kind, said = ("good", "The data fit their schema.") if validated.valid else ("error", "The data do not fit.")
    lines = [f'<p class="{kind}"><b>{said}</b> {counted(errors, "error")}, {counted(warnings, "warning")}.</p>']
    if not validated.curated:
        lines.append(
            f'<p class="warning"><b>There is no {escape(validated.schema_place)}.</b> The schema was inferred from '
            "these training rows, which therefore cannot fail it.</p>"
        )
    return "\n".join(lines)


def _anomalies(findings: Iterable[Finding]) -> str:
    rows = [
        f'<tr><td class="{found.severity}">{found.severity}</td><td><b>{escape(found.feature or "(data set)")}</b></td>'
        f"<td>{escape(found.dataset)}{escape(f', {found.comparison}' if found.comparison else '')}</td>"
        f"<td>{escape(found.short)}<br>{escape(found.reason)}<br><code class=dim>{escape(found.kind)}</code></td></tr>"
        for found in findings
    ]
    return _table(("", "feature", "data", "what TFDV says"), rows) if rows else '<p class="good">None.</p>'


def _datasets(datasets: Iterable[Dataset]) -> str:
    rows = [
        f'<tr><td>{escape(one.name)}</td><td class="n">{one.rows:,}</td><td class="n">{len(one.features)}</td>'
        f"<td>{escape(one.place)}</td></tr>"
        for one in datasets
    ]
    return _table(("", "rows", "columns", "from"), rows)


def _distances(validated: Validated) -> str:
    """A row a feature, a column a pair of data sets; those furthest over their thresholds first."""
    pairs = list(dict.fromkeys((one.comparison, one.dataset) for one in validated.distances))
    found: dict[str, dict[tuple[str, str], Distance]] = {}
    for one in validated.distances:
        found.setdefault(one.feature, {})[one.comparison, one.dataset] = one
    rows = []
    for feature, cells in sorted(found.items(), key=lambda item: -max(d.value / d.threshold for d in item[1].values())):
        measure = next(iter(cells.values())).measure
        columns = "".join(_distance(cells.get(pair)) for pair in pairs)
        rows.append(f"<tr><td><b>{escape(feature)}</b></td><td>{escape(measure)}</td>{columns}</tr>")
    return _table(("feature", "distance", *(between(*pair) for pair in pairs)), rows)


def _distance(one: Distance | None) -> str:
    if one is None:
        return "<td></td>"
    kind = "warning" if one.value > one.threshold else "dim"
    return f'<td class="n {kind}">{one.value:.3f} of {one.threshold:g}</td>'


def _features(validated: Validated) -> str:
    names = list(dict.fromkeys(name for one in validated.datasets for name in one.features))
    rows = []
    for name in names:
        cells = [one.features.get(name) for one in validated.datasets]
        span = _span([cell for cell in cells if cell is not None])
        columns = "".join(
            f"<td>{_feature(cell, one.rows, span) if cell is not None else '<span class=dim>not there</span>'}</td>"
            for cell, one in zip(cells, validated.datasets, strict=True)
        )
        rows.append(f"<tr><td><b>{escape(name)}</b></td>{columns}</tr>")
    return _table(("feature", *(one.name for one in validated.datasets)), rows)


def _feature(feature: Feature, rows: int, span: tuple[float, float] | None) -> str:
    missing = feature.missing / rows if rows else 0.0
    lines = [f"{missing:.1%} missing" if feature.missing else "none missing"]
    if feature.unique is not None:
        lines.append(f"{feature.unique:,} values: " + ", ".join(label for label, _ in feature.top[:3]))
        drawing = _bars([count for _, count in feature.top], [label for label, _ in feature.top])
    else:
        numbers = feature.numbers
        if numbers:
            lines.append(f"{_short(numbers['minimum'])} to {_short(numbers['maximum'])}")
            lines.append(f"mean {_short(numbers['mean'])} ± {_short(numbers['standard deviation'])}")
            lines.append(f"median {_short(numbers['median'])}, {numbers['zeros'] / max(1, feature.present):.1%} zeros")
        drawing = _histogram(feature.histogram, span) if span is not None else ""
    return drawing + '<div class="numbers">' + "<br>".join(escape(line) for line in lines) + "</div>"


def _span(features: Sequence[Feature]) -> tuple[float, float] | None:
    """The range that all histograms of a feature are drawn over, so that they can be compared."""
    bounds = [bound for feature in features for low, high, _ in feature.histogram for bound in (low, high)]
    finite = [bound for bound in bounds if isfinite(bound)]
    return (min(finite), max(finite)) if finite else None


def _histogram(bars: Iterable[tuple[float, float, float]], span: tuple[float, float]) -> str:
    low, high = span
    scale = _WIDTH / (high - low) if high > low else 0.0
    shown = [(left, right, count) for left, right, count in bars if isfinite(left) and isfinite(right) and count > 0]
    most = max((count for _, _, count in shown), default=0.0)
    drawn = []
    for left, right, count in shown:
        x, width = ((left - low) * scale, max(1.0, (right - left) * scale)) if scale else (0.0, float(_WIDTH))
        drawn.append(_bar(x, width, count / most, f"{_short(left)} to {_short(right)}: {count:,.0f}"))
    return _svg(drawn)


def _bars(counts: Sequence[float], labels: Sequence[str]) -> str:
    most = max(counts, default=0.0)
    step = _WIDTH / max(1, len(counts))
    return _svg(
        [
            _bar(index * step, max(1.0, step - 1), count / most if most else 0.0, f"{label}: {count:,.0f}")
            for index, (count, label) in enumerate(zip(counts, labels, strict=True))
        ]
    )


def _bar(x: float, width: float, share: float, said: str) -> str:
    height = max(1.0, share * _HEIGHT)
    return (
        f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{escape(said)}</title></rect>"
    )


def _svg(bars: Sequence[str]) -> str:
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(bars)}</svg>'


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return f'<div class="scroll"><table><tr>{head}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def _short(number: float) -> str:
    return f"{number:,.4g}" if abs(number) < 1e6 else f"{number:,.3g}"
