"""The list of pipeline runs and the page of a run, fetched after real runs."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

import pytest
from google.cloud import aiplatform_v1
from tests.localcloud.console import components
from tests.localcloud.console.conftest import Console, Element

from localcloud.console.drawing import draw
from localcloud.console.render import Pages
from localcloud.console.tree import Tree

RUNS = "/vertex-ai/pipelines/runs"


def boxes(page: Element) -> dict[str, Element]:
    """The boxes of the drawing by their titles; of boxes with the same title the last."""
    drawing = page.one("svg", class_="drawing")
    return {box.all("text", class_="title")[0].text: box for box in drawing.all("g", class_="box")}


def state(box: Element) -> str:
    """The state that a box is drawn in."""
    (found,) = {"succeeded", "failed", "cached", "running", "waiting", "not-triggered", "cancelled"} & set(
        box.attributes["class"].split()
    )
    return found


def note(box: Element) -> str:
    """What stands below the title of a box."""
    return box.all("text", class_="note")[0].text


def facts(page: Element) -> dict[str, str]:
    """The rows of the tables of facts in the panel of the task."""
    panel = page.one("section", id="task")
    rows = [row for table in panel.all("table", class_="facts") for row in table.all("tr")]
    return {row.all("th")[0].text: row.all("td")[0].text for row in rows}


def test_the_list_has_the_run(console: Console, everything: Any) -> None:
    page = console.page(RUNS)
    name = everything.name.rpartition("/")[2]
    row = next(row for row in page.all("tr") if name in row.text)
    assert "✗ failed" in row.text
    assert "everything" in row.text
    assert "team: flights" in row.text
    assert components.HOSTILE in row.text
    assert "vertex-ai-pipelines-run-billing-id" not in row.text
    link = row.all("a")[0]
    assert console.follow(link.attributes["href"]).one("h1").text == name
    assert name not in console.page(RUNS, state="PIPELINE_STATE_SUCCEEDED").text
    assert name in console.page(RUNS, state="PIPELINE_STATE_FAILED").text
    assert name in console.page(RUNS, project="-").text
    assert name not in console.page(RUNS, location="europe-west4").text
    assert name in console.page("/", project="").text


def test_the_list_goes_on_with_older_runs(console: Console) -> None:
    jobs = [console.submit(components.importing, labels={"number": f"n{number}"}) for number in range(27)]
    for job in jobs:
        console.wait(job)
    first = console.page(RUNS)
    second = console.follow(first.one("a", rel="next").attributes["href"])
    pages = [{link.text for link in page.one("table").all("a")} for page in (first, second)]
    names = {job.name.rpartition("/")[2] for job in jobs}
    assert len(pages[0]) == 25
    assert not pages[0] & pages[1]
    assert names <= pages[0] | pages[1]


def test_the_drawing_shows_every_construct(console: Console, everything: Any) -> None:
    page = console.page(console.run_path(everything))
    found = boxes(page)
    states = {title: state(box) for title, box in found.items()}
    assert states == {
        "guarded": "failed",
        "prepare": "succeeded",
        "sizes": "succeeded",
        "train": "succeeded",
        "fit": "succeeded",
        "evaluate": "succeeded",
        "condition-branches-3": "succeeded",
        "good-enough": "succeeded",
        "too-bad": "not-triggered",
        "announce": "succeeded",
        "announce-2": "not-triggered",
        "refuse": "failed",
        "clean-up": "succeeded",
    }
    assert note(found["guarded"]).startswith("exit handler · failed · ")
    assert note(found["sizes"]).startswith("loop · 3 ✓ of 3 · ")
    assert note(found["fit"]).startswith("pipeline · succeeded · ")
    assert note(found["too-bad"]) == "condition · not triggered"
    assert note(found["prepare"]).endswith(" s")
    assert {box.title for box in found["fit"].all("g", class_="box") for box in [_Titled(box)]} == {"train", "evaluate"}
    arrows = page.one("svg", class_="drawing").all("path", class_="arrow")
    assert len(arrows) == 6  # three from prepare, fit and the loop's brother; fit's own; two from fit; one to the end
    failed = page.one("section", aria_label="Run").all("p", class_="failed")
    assert "exit-handler-1.refuse" in failed[0].text


class _Titled:
    def __init__(self, box: Element) -> None:
        self.title = box.all("text", class_="title")[0].text


def test_a_drawing_stands_alone_as_a_file(everything: Any) -> None:
    job = aiplatform_v1.PipelineJob.pb(everything)
    drawing = ElementTree.fromstring(Pages.svg(draw(Tree(job).root, None)))
    space = "{http://www.w3.org/2000/svg}"
    titles = [text.text for text in drawing.iter(f"{space}text") if text.get("class") == "title"]
    assert {"guarded", "prepare", "sizes", "fit", "good-enough", "clean-up"} <= set(titles)
    assert len(list(drawing.iter(f"{space}style"))) == 1
    assert not list(drawing.iter(f"{space}a"))


def test_a_box_leads_to_its_task(console: Console, everything: Any) -> None:
    page = console.page(console.run_path(everything))
    link = boxes(page)["refuse"].all("a")[0].attributes["href"]
    chosen = console.follow(link.partition("#")[0])
    assert boxes(chosen)["refuse"].attributes["class"].split()[-1] == "chosen"
    panel = chosen.one("section", id="task")
    assert panel.one("h2").text == "refuse"
    assert "non-zero status of 1" in panel.all("pre", class_="error")[0].text
    log = panel.one("pre", class_="log").text
    assert f"ValueError: no such model: {components.HOSTILE}" in log
    assert facts(chosen)["text"] == components.HOSTILE
    assert "mlops logs" in panel.text


def test_what_went_in_and_came_out(console: Console, everything: Any) -> None:
    page = console.task(everything, "evaluate")
    shown = facts(page)
    assert shown["Output"] == "0.875"
    assert shown["accuracy"] == "0.875"
    assert shown["rows"] == "40"
    assert shown["Ran"].split()[1] == "s,"
    panel = page.one("section", id="task")
    assert panel.one("path", class_="roc").attributes["d"] == "M0.0 220.0 L55.0 55.0 L220.0 0.0"
    assert "area under it 0.7500" in panel.text
    assert [count.text for count in panel.all("text", class_="count")] == ["30", "10", "5", "55"]
    report = panel.one("div", class_="markdown")
    assert (report.one("h1").text, report.one("strong").text) == ("Report", "bold")
    assert [cell.text for cell in report.all("td")] == ["1", "2"]
    assert "<script>alert(1)</script>" in report.text
    assert [link.attributes["href"] for link in report.all("a")] == ["https://example.com/"]
    assert any("gs://" in code.text and code.text.endswith("/model") for code in panel.all("code"))


def test_html_is_in_an_origin_of_its_own(console: Console, everything: Any) -> None:
    frame = console.task(everything, "evaluate").one("iframe")
    assert frame.attributes["sandbox"] == "allow-scripts"
    answer = console.get(frame.attributes["src"].partition("?")[0])
    assert answer.text.startswith("<!doctype html><h1>Plot</h1>")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert "allow-same-origin" not in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_custom_job_has_its_page(console: Console, everything: Any) -> None:
    panel = console.task(everything, "prepare").one("section", id="task")
    link = next(link for link in panel.all("a") if "/training/" in link.attributes["href"])
    page = console.follow(link.attributes["href"])
    assert "✓ succeeded" in page.text
    assert components.HOSTILE in page.one("pre", class_="log").text
    assert link.text in console.page("/vertex-ai/custom-jobs").text


def test_hostile_text_stays_text(console: Console, everything: Any) -> None:
    pages = [console.page("/", project=""), console.page(RUNS), console.page("/vertex-ai/custom-jobs")]
    pages += [console.task(everything, name) for name in ("prepare", "refuse", "announce", "evaluate", "for-loop-2")]
    seen = 0
    for page in pages:
        # the only scripts are the console's own, which have an address and no text
        assert all(script.attributes["src"] == "/console/console.js" for script in page.all("script"))
        assert not any(name.startswith("on") for element in page.all() for name in element.attributes)
        seen += components.HOSTILE in page.text
    assert seen >= 5
    unknown = console.page(f"/{components.HOSTILE}", 404)
    assert components.HOSTILE in unknown.text
    assert not unknown.all("script")
    policy = console.get(RUNS).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy


def test_a_long_loop_stays_readable(console: Console) -> None:
    job = console.wait(console.submit(components.many, {"count": 200}))
    assert len(job.job_detail.task_details) > 600
    loop = next(detail for detail in job.job_detail.task_details if detail.task_name == "for-loop-1")
    took = []
    for _ in range(3):
        began = time.monotonic()
        answer = console.get(console.run_path(job), task=str(loop.task_id))
        took.append(time.monotonic() - began)
    assert min(took) < 1.0
    assert len(answer.content) < 200_000
    page = console.page(console.run_path(job), task=str(loop.task_id))
    found = boxes(page)
    assert set(found) == {"numbers", "each", "condition-2", "announce"}
    assert note(found["each"]).startswith("loop · 200 ✓ of 200")
    iterations = page.one("section", id="task").all("a", class_="succeeded")
    assert len(iterations) == 200
    last = console.follow(iterations[-1].attributes["href"].partition("#")[0])
    assert "✓ for-loop-1-199" in boxes(last)["each"].text
    assert state(boxes(last)["announce"]) == "cached"
    cached = console.follow(boxes(last)["announce"].all("a")[0].attributes["href"].partition("#")[0])
    assert "those of an earlier execution" in cached.one("section", id="task").text


def test_a_page_follows_its_run(console: Console) -> None:
    job = console.submit(components.resting)
    try:
        until = time.monotonic() + 60
        while True:
            details = console.client().get_pipeline_job(name=job.name).job_detail.task_details
            going = next((d for d in details if d.task_name == "rest" and d.state.name == "RUNNING"), None)
            if going is not None:
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        page = console.page(console.run_path(job), task=str(going.task_id))
        assert "data-refresh" in page.one("main").attributes
        assert page.one("noscript").one("meta").attributes == {"http-equiv": "refresh", "content": "5"}
        assert state(boxes(page)["rest"]) == "running"
        assert {part.attributes["data-live"] for part in page.all() if "data-live" in part.attributes} == {
            "head",
            "graph",
            "task",
            "table",
        }
        assert page.one("section", id="task").one("h2").text == "rest"
        assert console.get("/console/console.js").ok
    finally:
        console.client().cancel_pipeline_job(name=job.name)
    over = console.wait(job)
    page = console.page(console.run_path(over), task=str(going.task_id))
    assert "data-refresh" not in page.one("main").attributes
    assert not page.all("script")
    assert state(boxes(page)["rest"]) == "cancelled"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/nothing", {}, 404),
        ("/vertex-ai/nothing", {}, 404),
        ("/vertex-ai/locations/us-central1/pipelines/runs/absent", {}, 404),
        ("/vertex-ai/locations/us-central1/training/5", {}, 404),
        ("/vertex-ai/locations/us-central1/metadata-stores/default/artifacts/absent", {}, 404),
        ("/vertex-ai/locations/us-central1/metadata-stores/default/things/1", {}, 404),
        ("/vertex-ai/locations/us-central1/pipelines/runs/absent", {"project": ""}, 400),
        (RUNS, {"token": "nonsense"}, 400),
        (RUNS, {"project": "never-heard-of"}, 404),
        ("/vertex-ai/models", {"project": "never-heard-of"}, 404),
        (RUNS, {"state": "nonsense"}, 400),
        ("/console/../app.py", {}, 404),
    ],
)
def test_what_is_not_there_is_said_in_a_page(console: Console, path: str, query: dict[str, str], status: int) -> None:
    page = console.page(path, status, **query)
    assert page.one("p", class_="error").text
    assert "Traceback" not in page.text


def test_an_unknown_task_is_none(console: Console, everything: Any) -> None:
    for task in ("5", "nonsense", "٣", "9" * 40):
        panel = console.page(console.run_path(everything), task=task).one("section", id="task")
        assert panel.text.startswith("Choose a task")
