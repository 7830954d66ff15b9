"""`python -m accelerator.cli.pipeline_compile FILE NAME OUTPUT`: compiles a pipeline function of the user's with KFP.

A process of its own: the user's file may import and print what it likes. What is wrong is the last line, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn


def main(path: Path, name: str, output: str) -> None:
    """Compiles a pipeline of a file."""
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    module = _import(path)
    from kfp import compiler
    from kfp.dsl.base_component import BaseComponent
    from kfp.dsl.graph_component import GraphComponent

    if name:
        pipeline = getattr(module, name, None)
        if not isinstance(pipeline, BaseComponent):
            known = [found for found, value in vars(module).items() if isinstance(value, GraphComponent)]
            is_there = "is not made by @dsl.pipeline" if hasattr(module, name) else "is not in the file"
            _fail(f"{name} {is_there}", f"Its pipelines: {', '.join(known)}" if known else "mark it with @dsl.pipeline")
    else:
        pipeline = _only(module, path, GraphComponent)
    try:
        compiler.Compiler().compile(pipeline, output)
    except Exception as error:
        _fail(f"It does not compile: {_said(error)}", "", _line(error, path))


def _import(path: Path) -> Any:
    # not __main__: what a script does when it is run is not done here
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        _fail(f"The file ends the program when it is imported (code {error.code})", "put that below __main__")
    except Exception as error:
        traceback.print_exc()
        _fail(_said(error), "", _line(error, path))
    return module


def _only(module: Any, path: Path, kind: Any) -> Any:
    """The one pipeline that was written in a module; those it imports do not count."""
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, kind) and value.pipeline_func.__module__ == module.__name__
    }
    if not own:
        _fail("There is no function with @dsl.pipeline in the file", "mark the pipeline with @dsl.pipeline")
    if len(own) > 1:
        _fail(
            f"The file has {len(own)} pipelines: {', '.join(own)}",
            "name one: " + " or ".join(f"{path}:{name}" for name in own),
        )
    return next(iter(own.values()))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the user's file in which it happened."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename) == path), None)


def _fail(headline: str, next_step: str, line: int | None = None) -> NoReturn:
    print(json.dumps({"headline": headline, "next": next_step, "line": line}))
    sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
