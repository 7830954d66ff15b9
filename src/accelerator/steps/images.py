"""The images of a project, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Images:
    """What was built: the images that the steps, jobs and endpoints of a project run.

    Args:
        training: Training, tuning, and the steps of pipelines.
        prediction: Endpoints and batch prediction.
        preprocessing: Apache Beam; empty where the project preprocesses nothing.
        data_validation: TensorFlow Data Validation; empty where the project does not use it.
    """

    training: str
    prediction: str
    preprocessing: str = ""
    data_validation: str = ""

    @property
    def tag(self) -> str:
        """What identifies the code in them: all have the same tag."""
        return self.training.rpartition(":")[2]
