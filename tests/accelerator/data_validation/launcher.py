"""Starts data validation again and again, each time in a fresh child that has TFDV loaded.

Reads one JSON request a line (argv, cwd, env, out, err) and answers with the exit code. It only saves the tests the
seconds that importing TensorFlow takes; the child is a process of its own, as in a job.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from accelerator.data_validation import data, schema, statistics, validation  # noqa: F401
from accelerator.data_validation.__main__ import main


def child(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 70
    try:
        code = main(request["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


for line in sys.stdin:
    started = os.fork()
    if not started:
        child(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(started, 0)[1]), flush=True)
