"""The public images that people name most, each a folder with a Dockerfile and locked requirements.

Says which folder stands in for which name; `images` builds it at its first use.
"""

from __future__ import annotations

import re
from pathlib import Path

VERTEX = r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai"
KNOWN = {
    rf"{VERTEX}/training/(?:sklearn|scikit-learn)-cpu\.1-6(?:\.py3\d+)?:latest": "training-sklearn-1-6",
    rf"{VERTEX}/training/xgboost-cpu\.2-1(?:\.py3\d+)?:latest": "training-xgboost-2-1",
    rf"{VERTEX}/prediction/sklearn-cpu\.1-6:latest": "prediction-sklearn-1-6",
    rf"{VERTEX}/prediction/sklearn-cpu\.1-5:latest": "prediction-sklearn-1-5",
    rf"{VERTEX}/prediction/xgboost-cpu\.2-1:latest": "prediction-xgboost-2-1",
    r"gcr\.io/ml-pipeline/google-cloud-pipeline-components:2\.\d+\.\d+": "pipeline-components-2-22",
}
"""Full image names to folders beside this file."""
NAMES = (
    "python:3.11",
    "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest",
    "us-docker.pkg.dev/vertex-ai/training/xgboost-cpu.2-1:latest",
    "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest",
    "us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest",
    "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0",
)


def find(name: str) -> Path | None:
    """The folder that stands in for an image name, or None."""
    for pattern, folder in KNOWN.items():
        if re.fullmatch(pattern, name):
            return Path(__file__).parent / folder
    return None


def names() -> list[str]:
    """One name for each, for messages."""
    return list(NAMES)
