"""TensorFlow Data Validation and its protocol buffers, imported without what they write to the log meanwhile."""

from __future__ import annotations

import contextlib
import io
import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
logging.getLogger().addHandler(logging.NullHandler())  # or Beam's warnings at import get a handler made for them

with contextlib.redirect_stderr(io.StringIO()):
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics import stats_impl
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
    from tfx_bsl.arrow import array_util

__all__ = ["anomalies_pb2", "array_util", "schema_pb2", "statistics_pb2", "stats_impl", "tfdv"]
