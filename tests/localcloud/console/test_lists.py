"""Lists of resources without pages of their own."""

from __future__ import annotations

import pytest
from google.cloud import aiplatform_v1 as v1
from tests.conftest import REGION
from tests.localcloud.console import components
from tests.localcloud.console.conftest import Console

from localcloud.console.lists import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_list(console: Console, kind: str) -> None:
    assert console.page(f"/vertex-ai/{kind}").one("h1").text == KINDS[kind].title
    assert console.page(f"/vertex-ai/{kind}", project="-").one("h1").text == KINDS[kind].title


def test_a_resource_is_in_its_list(console: Console) -> None:
    client = v1.EndpointServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    for number in range(101):
        endpoint = v1.Endpoint(display_name=f"{components.HOSTILE} {number}", labels={"number": str(number)})
        client.create_endpoint(parent=f"projects/{console.project}/locations/{REGION}", endpoint=endpoint).result()
    page = console.page("/vertex-ai/endpoints")
    assert len(page.one("tbody").all("tr")) == 100
    assert components.HOSTILE in page.text
    assert REGION in page.text
    assert "number: 5" in page.text
    more = console.follow(page.one("a", rel="next").attributes["href"])
    assert len(more.one("tbody").all("tr")) == 1


def test_the_first_page_has_projects_and_apis(console: Console) -> None:
    page = console.page("/", project="")
    assert console.project in page.text
    assert "aiplatform.googleapis.com" in page.text
    links = {link.attributes["href"] for link in page.all("a")}
    assert f"/vertex-ai/pipelines/runs?project={console.project}" in links
    for href in links:
        assert console.follow(href.partition("#")[0]).one("h1").text
