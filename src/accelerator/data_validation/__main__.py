"""`python -m accelerator.data_validation [validate | infer]`: the entrypoint of the data validation container.

Runs, and ends the log with one clear message if it cannot or if the data have anomalies: exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from accelerator import config as settings
from accelerator.data_validation.run import infer, log, run
from accelerator.errors import AcceleratorError


def main(argv: Sequence[str]) -> int:
    """Validate or infer; returns the exit code."""
    given = _parser().parse_args(argv)
    try:
        config = settings.load(
            given.config or os.environ.get("MLOPS_CONFIG") or settings.FILE_NAME, overrides=given.overrides
        )
        if given.command == "infer":
            log(f"The schema is {infer(config, output=given.output)}: curate it by hand")
            return 0
        run(
            config,
            statistics_dir=given.statistics_dir,
            report=given.report,
            previous_statistics=given.previous_statistics,
        ).require()
    except AcceleratorError as error:
        _say(error.render())
        return error.exit_code
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        _say(
            f"Data validation itself failed: {type(error).__name__}: {error}\n"
            f"  at:   {where.filename}, line {where.lineno}\n"
            "  next: This is a fault of the accelerator: please report it with this message."
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accelerator.data_validation",
        description="TensorFlow Data Validation of the rows that mlops.yaml names.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="validate",
        choices=("validate", "infer"),
        help="infer writes a schema to begin with",
    )
    parser.add_argument("--config", default="", help="default: $MLOPS_CONFIG, else mlops.yaml in the working folder")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="K=V", help="wins over the file"
    )
    parser.add_argument("--statistics_dir", default="", help="a folder for statistics, anomalies and schema")
    parser.add_argument("--report", default="", help="where the HTML report goes")
    parser.add_argument("--previous_statistics", default="", help="the statistics_dir of an earlier run")
    parser.add_argument("--output", default="", help="infer: where the schema goes, if not beside mlops.yaml")
    return parser


def _say(message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
