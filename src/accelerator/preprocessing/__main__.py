"""`python -m accelerator.preprocessing [--set key.key=value]…`: the container's entrypoint.

Prints what became of the rows; ends with one clear message and exit code 1 if it cannot.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from accelerator import config as configuration
from accelerator.errors import AcceleratorError
from accelerator.preprocessing.run import Preprocessed, run


def main(argv: Sequence[str]) -> int:
    """Preprocess; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m accelerator.preprocessing", allow_abbrev=False)
    parser.add_argument("--config", default=os.environ.get("MLOPS_CONFIG") or configuration.FILE_NAME)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--run_id", default="", help="the name of the run, as the dead-letter table has it")
    parser.add_argument("--image", default="", help="of Dataflow's workers")
    given = parser.parse_args(argv)
    try:
        tell(run(configuration.load(given.config, overrides=given.overrides), given.run_id, given.image))
    except AcceleratorError as error:
        print(error.render(), file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def tell(done: Preprocessed) -> None:
    """Say what became of the rows."""
    for source, counts in done.counts.items():
        print(
            f"{source}: {counts.read:,} rows read, {counts.written:,} in {counts.target}, {counts.rejected:,} rejected"
        )
        for reason, count in counts.reasons.items():
            print(f"  {count:,}: {reason}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
