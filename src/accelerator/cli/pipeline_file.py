"""Where a pipeline comes from: a compiled file here or in Cloud Storage, or a Python file, compiled on the way.

What a specification holds is checked by Vertex AI when it is submitted; here only what it takes to submit it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from accelerator.cli.vertex import ApiError, Vertex
from accelerator.errors import CodeError, ConfigError, Place

_PYTHON = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[^/:]+))?")


class PipelineError(ConfigError):
    """There is no pipeline here that could be submitted."""

    exit_code = 2


class CompileError(CodeError):
    """A Python file does not compile to a pipeline."""

    exit_code = 2


@dataclass
class Pipeline:
    """A pipeline that can be submitted.

    Args:
        spec: The PipelineSpec.
        parameters: Values of parameters that came with it.
        root: Where it says that outputs go; empty where it does not.
        left_out: The platforms whose settings were in the file, and are nothing to Vertex AI.
        network: The network that its jobs are peered with; empty for none.
    """

    spec: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    root: str = ""
    left_out: list[str] = field(default_factory=list)
    network: str = ""

    @property
    def name(self) -> str:
        """Its own name."""
        return str(self.spec["pipelineInfo"]["name"])


def load(source: str, vertex: Vertex) -> Pipeline:
    """Reads a pipeline.

    Args:
        source: A path or gs:// URI of compiled YAML or JSON, or `file.py` or `file.py:name`.
        vertex: Where Cloud Storage is read.

    Raises:
        PipelineError: It is not there, or no pipeline.
        CompileError: The Python file is at fault.
    """
    python = _PYTHON.fullmatch(source)
    if source.startswith("gs://"):
        return parse(_download(source, vertex), source)
    if "://" in source:
        raise PipelineError(
            f"Pipelines are not read from {source.partition('://')[0]}://",
            place=source,
            next_step="download it, and give the file; gs:// is read as well",
        )
    path = Path(python["file"] if python else source)
    if not path.is_file():
        raise PipelineError("There is no such file", place=source, next_step="give a compiled pipeline or a .py file")
    if python:
        return parse(compiled(path, python["name"] or ""), source)
    try:
        return parse(path.read_text(), source)
    except UnicodeDecodeError:
        raise PipelineError("The file is no text", place=source, next_step="give compiled YAML or JSON") from None


def compiled(path: Path, name: str) -> str:
    """The specification of a pipeline function in a Python file, compiled by KFP in a process of its own.

    Args:
        path: The file.
        name: The function; empty for the only pipeline in the file.

    Raises:
        CompileError: It names the line.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-compile-") as folder:
        output = Path(folder) / "pipeline.yaml"
        command = [sys.executable, "-W", "ignore", "-m", "accelerator.cli.pipeline_compile", str(path), name]
        done = subprocess.run([*command, str(output)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            # what the file itself prints
            sys.stderr.write(done.stdout + done.stderr)
            return output.read_text()
    if os.environ.get("MLOPS_DEBUG"):
        sys.stderr.write(done.stderr)
    try:
        problem = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        problem = {"headline": f"The file does not run: {last}", "line": None, "next": ""}
    raise CompileError(problem["headline"], place=Place(str(path), problem["line"]), next_step=problem["next"])


def _download(uri: str, vertex: Vertex) -> str:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    url = f"https://storage.googleapis.com/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
    try:
        return str(vertex.raw("GET", url, params={"alt": "media"}).content.decode())
    except ApiError as error:
        raise PipelineError(error.headline, place=uri, next_step="check the name, and that you may read it") from None
    except UnicodeDecodeError:
        raise PipelineError("The object is no text", place=uri, next_step="give compiled YAML or JSON") from None


def parse(text: str, source: str) -> Pipeline:
    """A compiled pipeline.

    Args:
        text: YAML or JSON.
        source: Where it is from, for an error.

    Raises:
        PipelineError: It is none.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(yaml.load_all(text, Loader=loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(source, mark.line + 1, mark.column + 1) if mark else source
        raise PipelineError(f"It is not YAML: {getattr(error, 'problem', error)}", place=place) from None
    content, *further = documents or [None]
    if not isinstance(content, dict):
        raise PipelineError("It holds no pipeline", place=source, next_step="compile it with kfp.compiler")
    wrapped = isinstance(content.get("pipelineSpec"), dict)
    spec = content["pipelineSpec"] if wrapped else content
    if "apiVersion" in spec or "spec" in spec:
        raise PipelineError(
            "It was compiled for KFP v1, which Vertex AI does not run", place=source, next_step="compile it with kfp 2"
        )
    info = spec.get("pipelineInfo")
    if not isinstance(info, dict) or not info.get("name") or not isinstance(spec.get("root"), dict):
        missing = "root" if isinstance(info, dict) and info.get("name") else "pipelineInfo.name"
        raise PipelineError(
            f"It is no compiled pipeline: {missing} is missing", place=source, next_step="compile it with kfp.compiler"
        )
    config = content.get("runtimeConfig") or {} if wrapped else {}
    legacy = {name: next(iter(value.values()), None) for name, value in config.get("parameters", {}).items()}
    left_out = [platform for document in further if document for platform in document.get("platforms", {})]
    return Pipeline(
        spec=spec,
        parameters={**legacy, **config.get("parameterValues", {})},
        root=spec.get("defaultPipelineRoot") or config.get("gcsOutputDirectory") or "",
        left_out=left_out,
    )
