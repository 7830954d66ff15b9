"""Why a step of a run failed, kept in the project's bucket for the row of the run."""

from __future__ import annotations

import json

from accelerator.config import Config
from accelerator.errors import StorageError
from accelerator.storage import Folder, folder

_FILE = "failure.json"


def keep(config: Config, run: str, step: str, message: str) -> None:
    """Keep a step's message; where even that fails the log alone has it."""
    try:
        _folder(config, run).write(_FILE, json.dumps({"step": step, "message": message}).encode())
    except StorageError as error:
        print(error.render(), flush=True)


def read(config: Config, run: str) -> tuple[str, str]:
    """The step that failed last in a run, and its message; empty where none has said why."""
    content = _folder(config, run).read(_FILE)
    if content is None:
        return "", ""
    found = json.loads(content)
    return found["step"], found["message"]


def _folder(config: Config, run: str) -> Folder:
    return folder(f"gs://{config.bucket_name}/runs/{run}")
