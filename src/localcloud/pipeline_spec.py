"""KFP's own messages of a compiled pipeline, for whoever reads a PipelineJob.

Source: https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

_MODULE = "localcloud._pipeline_spec_pb2"


@cache
def messages() -> ModuleType:
    """KFP's message classes, without the rest of the kfp package, which takes seconds to import."""
    package = importlib.util.find_spec("kfp")
    if package is None or not package.submodule_search_locations:
        raise ImportError("The package kfp, whose pipeline_spec messages Vertex Pipelines reads, is not installed.")
    path = f"{package.submodule_search_locations[0]}/pipeline_spec/pipeline_spec_pb2.py"
    found = importlib.util.spec_from_file_location(_MODULE, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[_MODULE] = module
    found.loader.exec_module(module)
    return module
