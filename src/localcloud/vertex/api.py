"""The Vertex AI API: its hosts and its services.

v1 is what the services are written in; v1beta1 shares its wire form and is carried over by the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from localcloud.service import Api, Cloud
from localcloud.vertex.access import PEERED_PATH
from localcloud.vertex.batch.service import JobService as BatchPredictionJobs
from localcloud.vertex.common import Vertex
from localcloud.vertex.datasets.service import DatasetService
from localcloud.vertex.endpoints import EndpointService
from localcloud.vertex.evaluations import ModelService as ModelEvaluations
from localcloud.vertex.jobs import JobService
from localcloud.vertex.metadata import lineage, nodes, stores
from localcloud.vertex.metadata.edges import Edges
from localcloud.vertex.models import ModelService
from localcloud.vertex.peered import PeeredApp
from localcloud.vertex.pipelines.service import PipelineService
from localcloud.vertex.prediction import PredictionService
from localcloud.vertex.routing import Fleet
from localcloud.vertex.schedules.service import ScheduleService
from localcloud.vertex.tensorboard import data as tensorboard_data
from localcloud.vertex.tensorboard import service as tensorboard
from localcloud.vertex.tensorboard.points import Points
from localcloud.vertex.training_pipelines.service import PipelineService as TrainingPipelines
from localcloud.vertex.tuning.service import JobService as TuningJobs
from localcloud.vertex.vizier import studies, suggestions, trials


def api(cloud: Cloud) -> Api:
    """Vertex AI on this local cloud."""
    vertex = Vertex(cloud)
    fleet = Fleet(vertex)
    jobs, models = JobService(vertex), ModelService(vertex)
    batch, tuning = BatchPredictionJobs(vertex), TuningJobs(vertex, jobs)
    trainings = TrainingPipelines(vertex, jobs, models)
    pipelines, schedules = PipelineService(vertex, jobs), ScheduleService(vertex)
    edges = Edges(cloud.root / "vertex" / "metadata.db")
    vizier = tuple(part.VizierService(vertex) for part in (studies, trials, suggestions))
    metadata = tuple(part.MetadataService(vertex, edges) for part in (stores, nodes, lineage))
    points = Points(cloud.root / "vertex" / "tensorboard.db")
    tensorboards = tuple(part.TensorboardService(vertex, points) for part in (tensorboard, tensorboard_data))

    starts = (jobs, batch, tuning, trainings, models, pipelines, fleet, schedules)
    stops = (schedules, pipelines, trainings, tuning, jobs, batch, fleet)
    return Api(
        name="aiplatform",
        hosts=(
            "aiplatform.googleapis.com",
            "*-aiplatform.googleapis.com",
            "*.prediction.vertexai.goog",
            "*.prediction.p.vertexai.goog",
        ),
        services=(
            jobs,
            batch,
            tuning,
            models,
            ModelEvaluations(vertex),
            DatasetService(vertex),
            trainings,
            pipelines,
            schedules,
            EndpointService(vertex, fleet),
            PredictionService(fleet),
            *metadata,
            *vizier,
            *tensorboards,
        ),
        http=PeeredApp(fleet),
        paths=(PEERED_PATH,),
        packages=("google.cloud.aiplatform.v1", "google.cloud.aiplatform.v1beta1"),
        start=lambda: _each(part.start for part in starts),
        stop=lambda: _each(part.stop for part in stops),
    )


def _each(steps: Iterable[Callable[[], None]]) -> None:
    for step in steps:
        step()
