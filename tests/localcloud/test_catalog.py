"""The catalog's counts: it reads private names of Google's generator, so a change there must show."""

from __future__ import annotations

from collections import Counter

from localcloud import catalog


def test_the_whole_surface_is_read() -> None:
    methods = catalog.load().methods.values()
    counts = Counter(method.package for method in methods)
    assert counts["google.cloud.aiplatform.v1"] == 345
    assert counts["google.cloud.aiplatform.v1beta1"] == 424
    assert counts["google.pubsub.v1"] == 35
    bound = [method for method in methods if method.package == "google.cloud.aiplatform.v1" and method.http]
    assert len(bound) == 340


def test_required_fields_come_from_the_documentation() -> None:
    required = catalog.load().required
    assert required["google.cloud.aiplatform.v1.CustomJob"] == {"display_name", "job_spec"}
    assert required["google.pubsub.v1.Topic"] == {"name"}


def test_streaming_kinds() -> None:
    methods = catalog.load().methods
    pull = methods["/google.pubsub.v1.Subscriber/StreamingPull"]
    assert pull.client_streaming
    assert pull.server_streaming
    assert not methods["/google.pubsub.v1.Publisher/Publish"].server_streaming
