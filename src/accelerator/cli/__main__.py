"""`python -m accelerator.cli` is `mlops`."""

import sys

from accelerator.cli import main

sys.exit(main())
