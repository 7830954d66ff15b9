"""The Vertex AI API: its hosts and its services.

v1 is what the services are written in; v1beta1 shares its wire form and is carried over by the gateway.
"""

from __future__ import annotations

from localcloud.service import Api, Cloud
from localcloud.vertex.batch.service import JobService as BatchPredictionJobs
from localcloud.vertex.common import Vertex
from localcloud.vertex.endpoints import EndpointService
from localcloud.vertex.jobs import JobService
from localcloud.vertex.metadata import lineage, nodes, stores
from localcloud.vertex.metadata.edges import Edges
from localcloud.vertex.models import ModelService
from localcloud.vertex.pipelines.service import PipelineService
from localcloud.vertex.prediction import PredictionService
from localcloud.vertex.routing import Fleet


def api(cloud: Cloud) -> Api:
    """Vertex AI on this local cloud."""
    vertex = Vertex(cloud)
    fleet = Fleet(vertex)
    jobs, models = JobService(vertex), ModelService(vertex)
    batch = BatchPredictionJobs(vertex)
    pipelines = PipelineService(vertex, jobs)
    edges = Edges(cloud.root / "vertex" / "metadata.db")
    metadata = tuple(part.MetadataService(vertex, edges) for part in (stores, nodes, lineage))

    def start() -> None:
        jobs.start()
        batch.start()
        models.start()
        pipelines.start()
        fleet.start()

    def stop() -> None:
        pipelines.stop()
        jobs.stop()
        batch.stop()
        fleet.stop()

    return Api(
        name="aiplatform",
        hosts=("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "*.prediction.vertexai.goog"),
        services=(jobs, batch, models, pipelines, EndpointService(vertex, fleet), PredictionService(fleet), *metadata),
        packages=("google.cloud.aiplatform.v1", "google.cloud.aiplatform.v1beta1"),
        start=start,
        stop=stop,
    )
