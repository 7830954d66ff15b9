"""Pages of artifacts, executions and contexts: each leads to the others."""

from __future__ import annotations

from typing import Any

from tests.localcloud.console import components
from tests.localcloud.console.conftest import Console, Element


def _links(page: Element, heading: str) -> list[Element]:
    """The links of the table that follows a heading."""
    elements = [part for part in page.one("main").parts if isinstance(part, Element)]
    at = next(number for number, part in enumerate(elements) if part.tag == "h2" and part.text == heading)
    return elements[at + 1].all("a")


def _named(links: list[Element], text: str) -> str:
    return next(link.attributes["href"] for link in links if link.text == text)


def test_an_artifact_names_its_maker_and_its_users(console: Console, everything: Any) -> None:
    panel = console.task(everything, "prepare").one("section", id="task")
    artifact = console.follow(_named(panel.all("a"), "system.Dataset"))
    name = everything.name.rpartition("/")[2]
    assert "name,size" in artifact.text
    assert components.HOSTILE in artifact.text
    assert not artifact.all("script")
    made, used = _links(artifact, "Made by"), _links(artifact, "Used by")
    assert [link.text for link in made] == ["prepare", name]
    readers = [link.text for link in used if link.text != name]
    assert readers.count("train") == 4  # three in the loop, one in the nested pipeline
    assert len([link for link in used if link.text == name]) == len(readers)

    maker = console.follow(made[0].attributes["href"])
    assert [link.text for link in _links(maker, "Outputs")] == ["rows"]
    assert name in [link.text for link in maker.one("section", class_="card").all("a")]
    assert console.follow(made[1].attributes["href"]).one("h1").text == name


def test_the_context_of_a_run_has_all_of_it(console: Console, everything: Any) -> None:
    page = console.page(console.run_path(everything))
    contexts = [link for link in page.one("section", aria_label="Run").all("a") if link.text == "lineage"]
    run = console.follow(contexts[0].attributes["href"])
    executions = {link.text for link in _links(run, "Executions")}
    assert {"prepare", "train", "evaluate", "refuse", "clean-up"} <= executions
    assert {"rows", "model", "figures"} <= {link.text for link in _links(run, "Artifacts")}
    pipeline = console.follow(_named(run.one("section", class_="card").all("a"), "everything"))
    assert "system.Pipeline" in pipeline.text
