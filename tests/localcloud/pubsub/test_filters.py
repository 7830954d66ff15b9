"""The filter language: which messages pass, and where a filter that does not parse is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.errors import InvalidArgument
from localcloud.pubsub.filters import compile_filter

MESSAGES: list[dict[str, str]] = [
    {},
    {"lang": "en", "name": "com"},
    {"lang": "en", "name": "org"},
    {"lang": "jp"},
    {"name": "community"},
    {"iana.org/tag": "en", "ce-type": "a.b"},
]


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("  ", [0, 1, 2, 3, 4, 5]),
        ('attributes.name = "com"', [1]),
        ('attributes.name="com"', [1]),
        ('attributes.name != "com"', [0, 2, 3, 4, 5]),
        ("attributes:name", [1, 2, 4]),
        ('attributes:"iana.org/tag"', [5]),
        ('attributes."iana.org/tag" = "en"', [5]),
        ('attributes.ce-type = "a.b"', [5]),
        ("NOT attributes:name", [0, 3, 5]),
        ("-attributes:name", [0, 3, 5]),
        ('hasPrefix(attributes.name, "com")', [1, 4]),
        ('NOT hasPrefix(attributes.name, "com")', [0, 2, 3, 5]),
        ('attributes:lang AND attributes.name = "com"', [1]),
        ('attributes.lang = "jp" OR attributes.name = "org"', [2, 3]),
        ('attributes:name AND (attributes.lang = "jp" OR attributes.lang = "en")', [1, 2]),
        ('NOT (attributes:name OR attributes.lang = "jp")', [0, 5]),
        (r'attributes.name = "\x63o\u006d"', [1]),
        (r'attributes.name = "\143om"', [1]),
        ("((attributes:lang))", [1, 2, 3]),
    ],
)
def test_which_messages_pass(text: str, passing: list[int]) -> None:
    matches = compile_filter(text)
    found = [number for number, message in enumerate(MESSAGES) if matches is None or matches(message)]
    assert found == passing


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("attributes.name = com", 19),
        ("attributes.name = 'com'", 19),
        ('attributes.name < "com"', 17),
        ('name = "com"', 1),
        ('attributes.name = "com" AND', 28),
        ("attributes:a AND attributes:b OR attributes:c", 31),
        ("(attributes:a", 14),
        ("attributes:a)", 13),
        ('attributes.a = "b" attributes:c', 20),
        ("not attributes:a", 1),
        ('hasPrefix(attributes:a, "x")', 21),
        ('attributes.a = "open', 16),
    ],
)
def test_a_filter_that_does_not_parse_names_the_place(text: str, place: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"at position {place}\.$"):
        compile_filter(text)


def test_a_filter_is_at_most_256_bytes_long() -> None:
    with pytest.raises(InvalidArgument, match="maximum is 256"):
        compile_filter('attributes.name = "' + "x" * 256 + '"')


@given(st.text(max_size=60) | st.text(alphabet='attributes.:=()"NOT AND-', max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        matches = compile_filter(text)
    except InvalidArgument:
        return
    assert matches is None or matches({"a": "b"}) in (True, False)
