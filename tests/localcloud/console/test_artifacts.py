"""What pages of artifacts show of contents and metadata of all sorts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.cloud import aiplatform_v1 as v1
from google.cloud import storage
from tests.conftest import REGION
from tests.localcloud.console.conftest import Console, Element, parsed

from localcloud.console.artifacts import rendered


@pytest.fixture(scope="session")
def store(console: Console) -> str:
    """The metadata store of the tests' project."""
    parent = f"projects/{console.project}/locations/{REGION}"
    client = _metadata()
    client.create_metadata_store(parent=parent, metadata_store=v1.MetadataStore(), metadata_store_id="shown").result()
    return f"{parent}/metadataStores/shown"


def _metadata() -> v1.MetadataServiceClient:
    return v1.MetadataServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


def shown(console: Console, store: str, **fields: Any) -> Element:
    """The page of a new artifact."""
    artifact = _metadata().create_artifact(parent=store, artifact=v1.Artifact(**fields))
    identifier = artifact.name.rpartition("/")[2]
    page = console.page(f"/vertex-ai/locations/{REGION}/metadata-stores/shown/artifacts/{identifier}")
    return page.one("section", aria_label="Artifact")


def put(console: Console, name: str, content: bytes) -> str:
    """A new object; gives its URI."""
    storage.Client(project=console.project).bucket(console.project).blob(name).upload_from_string(content)
    return f"gs://{console.project}/{name}"


def test_texts_are_shown_from_their_beginning(console: Console, store: str) -> None:
    short = shown(console, store, uri=put(console, "short.txt", b"a < b & \xc3\xa9"))
    assert short.one("pre").text == "a < b & é"
    long = shown(console, store, uri=put(console, "long.csv", "é".encode() * 6001))
    assert set(long.one("pre").text) == {"é"}
    assert len(long.one("pre").text) == 2000
    assert "11.7 KiB, of which this is the beginning" in long.text


def test_what_is_no_text_is_told_by_its_size(console: Console, store: str) -> None:
    for number, content in enumerate((b"\x00\x01\x02", b"\xff\xfe\xfa\xfbabc")):
        found = shown(console, store, uri=put(console, f"binary-{number}", content))
        assert not found.all("pre")
        assert f"{len(content)} B" in found.text


def test_folders_missing_objects_and_other_uris(console: Console, store: str) -> None:
    put(console, "folder/one", b"1")
    put(console, "folder/two", b"2")
    folder = shown(console, store, uri=f"gs://{console.project}/folder")
    assert folder.one("pre").text.split() == [f"gs://{console.project}/folder/{name}" for name in ("one", "two")]
    for uri in (f"gs://{console.project}/absent", "gs://no-such-bucket-here/x", "gs://", f"gs://{console.project}"):
        assert not shown(console, store, uri=uri).all("iframe")
    assert "There is no object" in shown(console, store, uri=f"gs://{console.project}/absent").text
    other = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/r/models/1"
    assert other in shown(console, store, uri=other, schema_title="google.VertexModel").text


@pytest.mark.parametrize("name", ["../../resources.db", "../../../../../../etc/passwd", "a/../../../resources.db"])
def test_no_uri_leaves_its_bucket(console: Console, store: str, name: str) -> None:
    page = shown(console, store, uri=f"gs://{console.project}/{name}", schema_title="system.HTML")
    assert not page.all("iframe")
    assert "There is no object" in page.text


def test_only_html_has_a_page_of_its_own(console: Console, store: str) -> None:
    uri = put(console, "page.html", b"<h1>x</h1>")
    for title, status in (("system.HTML", 200), ("system.Dataset", 404)):
        artifact = _metadata().create_artifact(parent=store, artifact=v1.Artifact(uri=uri, schema_title=title))
        identifier = artifact.name.rpartition("/")[2]
        path = f"/vertex-ai/locations/{REGION}/metadata-stores/shown/artifacts/{identifier}/content"
        assert console.get(path).status_code == status


@pytest.mark.parametrize(
    "metadata",
    [
        {"confusionMatrix": "none"},
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [1, 2]}]}},
        {"confusionMatrix": {"annotationSpecs": ["a"], "rows": ["x"]}},
        {"confusionMatrix": {"annotationSpecs": None, "rows": None}},
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": ["<b>"]}]}},
        {"confidenceMetrics": 3.5},
        {"confidenceMetrics": [{"recall": "high"}, None, {"recall": 7.0}]},
        {"evaluationSlices": [{"slice": "a"}]},
    ],
)
def test_metrics_of_other_shapes_are_shown_as_they_are(console: Console, store: str, metadata: dict[str, Any]) -> None:
    page = shown(console, store, schema_title="system.ClassificationMetrics", metadata=metadata)
    assert not page.all("svg")
    assert next(iter(metadata)) in page.text


def test_figures_curve_and_matrix_of_googles_components(console: Console, store: str) -> None:
    metadata = {
        "auRoc": 0.91,
        "logLoss": 0.25,
        "confidenceMetrics": [
            {"confidenceThreshold": threshold / 10, "recall": 1 - threshold / 10, "falsePositiveRate": 0.0}
            for threshold in range(11)
        ],
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name, "id": name} for name in ("x", "y", "z")],
            "rows": [{"row": [1, 0, 0]}, {"row": [0, 0, 0]}, {"row": [2, 0, 2]}],
        },
    }
    page = shown(console, store, schema_title="google.ClassificationMetrics", metadata=metadata)
    figures = {row.one("th").text: row.one("td").text for row in page.one("table", class_="metrics").all("tr")}
    assert figures == {"auRoc": "0.91", "logLoss": "0.25"}
    assert "area under it 1.0000" in page.text
    assert [count.text for count in page.all("text", class_="count")] == "1 0 0 0 0 0 2 0 2".split()
    shares = [float(cell.attributes["fill-opacity"]) for cell in page.all("rect") if "fill-opacity" in cell.attributes]
    assert shares[0] == max(shares)
    assert math.isclose(shares[6], shares[8])


def test_markdown_lets_no_html_and_no_scheme_through() -> None:
    text = """
<img src=x onerror=alert(1)> <iframe src="//evil"></iframe>

[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html;base64,xx) [d](vbscript:x) [e](https://e.org/)
<https://f.org/> <javascript:alert(1)> ![g](javascript:alert(1)) ![h](data:image/png;base64,AA==)

`<script>` and
```html
<script>alert(1)</script>
```
"""
    page = parsed(rendered(text))
    assert {element.tag for element in page.all()} <= {"p", "a", "img", "code", "pre"}
    assert [link.attributes["href"] for link in page.all("a")] == ["https://e.org/", "https://f.org/"]
    assert [image.attributes["src"] for image in page.all("img")] == ["data:image/png;base64,AA=="]
    assert "<script>alert(1)</script>" in page.text
