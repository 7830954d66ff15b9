"""google.protobuf.Value to and from Python: the same as json_format's, only faster."""

from __future__ import annotations

from google.cloud import aiplatform_v1
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.values import fill, split_values, take_values, to_python

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
content = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(numbers, max_size=9) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(content)
def test_there_and_back(given_content: object) -> None:
    value = Value()
    fill(value, given_content)
    assert value == json_format.ParseDict(given_content, Value())
    assert to_python(value) == given_content
    assert to_python(value) == json_format.MessageToDict(value)


def test_the_value_fields_of_a_message() -> None:
    Request = aiplatform_v1.PredictRequest.pb()
    request = Request()
    body = {"endpoint": "e", "instances": [[1, 2.5], {"a": None}, "x"], "parameters": {"threshold": 0.5}}
    assert take_values(body, request) == {"endpoint": "e"}
    assert "instances" in body
    request.endpoint = "e"
    assert request == json_format.ParseDict(body, Request())
    rest, values = split_values(request)
    assert rest == Request(endpoint="e")
    assert values == {"instances": body["instances"], "parameters": body["parameters"]}
    assert take_values({"instances": "no list"}, Request()) == {"instances": "no list"}
    assert split_values(Request(endpoint="e")) == (Request(endpoint="e"), {})
