"""The report: whole without a network, with the anomalies in front and nothing of the data taken for HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from accelerator.data_validation.report import html
from accelerator.data_validation.results import Dataset, Distance, Feature, Finding, Validated

NUMBERS = {"mean": 20.0, "standard deviation": 5.0, "minimum": 0.0, "median": 19.0, "maximum": 1048.36, "zeros": 3.0}


@pytest.fixture
def validated() -> Validated:
    wind = Feature(9, 1, NUMBERS, histogram=((0.0, 524.18, 8.0), (524.18, 1048.36, 1.0)))
    calm = Feature(10, 0, {**NUMBERS, "maximum": 40.0}, histogram=((0.0, 20.0, 4.0), (20.0, 40.0, 6.0)))
    carrier = Feature(10, 0, unique=2, top=(("UA", 7.0), ("<b>&", 3.0)))
    empty = Feature(0, 10, histogram=())
    return Validated(
        datasets=(
            Dataset("train", "BigQuery table my-project.flights.departures", 10, {"wind": wind, "carrier": carrier}),
            Dataset("serving", "another", 10, {"wind": calm, "gust": empty}),
        ),
        findings=(
            Finding("train", "wind", "FLOAT_TYPE_BIG_FLOAT", "Out of range", "High: 1048.36>231", "error"),
            Finding("serving", "<script>alert(1)</script>", "SCHEMA_NEW_COLUMN", "New", "a < b", "warning"),
        ),
        distances=(Distance("skew", "serving", "wind", "Jensen-Shannon", 0.64, 0.1),),
        curated=False,
        schema="",
        schema_place="schema.pbtxt",
    )


class Page(HTMLParser):
    """The tags of a page and what stands between them; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def test_nothing_comes_from_elsewhere(validated):
    page = Page(html(validated, "late-arrival"))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "onclick", "onload"} & {name for name, _ in page.attributes}
    assert "url(" not in html(validated, "late-arrival")


def test_anomalies_are_in_front(validated):
    text = Page(html(validated, "late-arrival")).text
    positions = [
        text.index(words)
        for words in ("The data do not fit.", "There is no schema.pbtxt.", "High: 1048.36>231", "my-project.flights")
    ]
    assert positions == sorted(positions)
    assert "1 error, 1 warning." in text


def test_what_is_in_the_data_is_text(validated):
    page = html(validated, "a & b")
    assert "<script>" not in page
    text = Page(page).text
    assert "<script>alert(1)</script>" in text
    assert "<b>&: 3" in text
    assert "Data validation: a & b" in text


def test_histograms_of_a_feature_share_their_range(validated):
    page = html(validated, "late")
    row = next(line for line in page.splitlines() if line.startswith("<tr><td><b>wind</b></td><td><svg"))
    train, serving = (
        [
            (float(x), float(width))
            for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing)
        ]
        for drawing in row.split("</svg>")[:2]
    )
    assert [x for x, _ in train] == [0.0, 90.0]
    assert max(x + width for x, width in serving) == pytest.approx(180 * 40 / 1048.36, abs=0.2)


def test_columns_that_are_not_there_or_empty(validated):
    text = Page(html(validated, "late")).text
    assert "not there" in text
    assert "100.0% missing" in text


def test_a_clean_result_says_so(validated):
    clean = Validated(validated.datasets, (), (), True, "", "schema.pbtxt")
    text = Page(html(clean, "late")).text
    assert "The data fit their schema." in text
    assert "None." in text
    assert "There is no" not in text
