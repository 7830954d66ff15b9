"""The entry point of the prediction container: `python -m accelerator.prediction`.

Exit code 0 after a drain, 1 with one message where the model cannot be served.
"""

from __future__ import annotations

import asyncio
import os
import sys

from accelerator.errors import AcceleratorError
from accelerator.prediction.logs import log, stack
from accelerator.prediction.settings import Settings
from accelerator.prediction.supervisor import StartFailed, Supervisor


async def _serve() -> None:
    await Supervisor(Settings.of(os.environ)).run()


def main() -> int:
    """Serve until SIGTERM."""
    try:
        asyncio.run(_serve())
    except AcceleratorError as error:
        log("ERROR", error.render(), **stack(error))
        return 1
    except StartFailed:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
