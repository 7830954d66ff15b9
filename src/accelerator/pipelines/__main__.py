"""`python -m accelerator.pipelines STEP …`: one component's container, in the project's folder of its image.

Ends the log with one clear message if it fails, and keeps that message for the row of the run: what Vertex AI
Pipelines says of a failed task is the exit code of its container.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import traceback
from collections.abc import Sequence

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.errors import AcceleratorError
from accelerator.pipelines import failures
from accelerator.pipelines.execution import Execution
from accelerator.pipelines.tasks import TASKS, Task
from accelerator.steps.images import Images

GARBAGE_THRESHOLD = 100_000
"""Objects made until Python looks for cycles among them. Importing Google's clients makes a million, few of them in a
cycle; at the interpreter's own 700 the looking is a sixth of the four seconds that it takes."""


def main(argv: Sequence[str]) -> int:
    """Do one step; returns the exit code."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    parser = argparse.ArgumentParser(prog="python -m accelerator.pipelines")
    parser.add_argument("step", choices=sorted(TASKS))
    parser.add_argument("--executor_input", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--images", required=True)
    given = parser.parse_args(argv)
    config: Config | None = None
    try:
        config = configuration.load(overrides=[f"project={given.project}", f"region={given.region}"])
        task = Task(config, Execution(given.executor_input), given.run, Images(**json.loads(given.images)))
        TASKS[given.step](task)
        task.execution.finish()
    except AcceleratorError as error:
        message = error.render()
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
    else:
        return 0
    print(message, file=sys.stderr, flush=True)
    if config is not None:
        failures.keep(config, given.run, given.step, message)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
