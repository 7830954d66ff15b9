"""A pipeline of Google's prebuilt components as teams write it: from a training function to a batch prediction.

No postponed annotations here: KFP reads the types of components.
"""

from google.cloud.aiplatform import hyperparameter_tuning
from google_cloud_pipeline_components.preview.model_evaluation import ModelImportEvaluationOp
from google_cloud_pipeline_components.types.artifact_types import UnmanagedContainerModel
from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
from google_cloud_pipeline_components.v1.bigquery import BigqueryCreateModelJobOp, BigqueryQueryJobOp
from google_cloud_pipeline_components.v1.custom_job import (
    CustomTrainingJobOp,
    create_custom_training_job_from_component,
)
from google_cloud_pipeline_components.v1.dataflow import DataflowFlexTemplateJobOp, DataflowPythonJobOp
from google_cloud_pipeline_components.v1.dataproc import DataprocPySparkBatchOp
from google_cloud_pipeline_components.v1.dataset import (
    ImageDatasetCreateOp,
    TabularDatasetCreateOp,
    TabularDatasetExportDataOp,
)
from google_cloud_pipeline_components.v1.endpoint import (
    EndpointCreateOp,
    EndpointDeleteOp,
    ModelDeployOp,
    ModelUndeployOp,
)
from google_cloud_pipeline_components.v1.hyperparameter_tuning_job import (
    HyperparameterTuningJobRunOp,
    serialize_metrics,
    serialize_parameters,
)
from google_cloud_pipeline_components.v1.model import ModelDeleteOp, ModelExportOp, ModelGetOp, ModelUploadOp
from google_cloud_pipeline_components.v1.vertex_notification_email import VertexNotificationEmailOp
from google_cloud_pipeline_components.v1.wait_gcp_resources import WaitGcpResourcesOp
from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Output
from tests.localcloud.vertex.conftest import IMAGE, SERVER
from tests.localcloud.vertex.pipelines.components import light


@light
def train(text: str, folder: dsl.OutputPath(str), metrics: Output[Metrics]):
    import json
    import os

    model = os.path.dirname(metrics.path) + "/model"
    os.makedirs(model, exist_ok=True)
    with open(f"{model}/model.json", "w") as file:
        json.dump({"text": text, "task": json.loads(os.environ["CLUSTER_SPEC"])["task"]}, file)
    with open(folder, "w") as file:
        file.write(model.replace("/gcs/", "gs://", 1))
    whole = {"metrics": {"classification": {"auPrc": 0.5}}}
    late = {"dimension": "annotationSpec", "value": "late"}
    part = {"metrics": {"classification": {"auPrc": 0.25}}, "singleOutputSlicingSpec": late}
    with open(metrics.path, "w") as file:
        json.dump({"slicedMetrics": [whole, part]}, file)


# what cloudml-hypertune writes
REPORT = """echo '{"timestamp": 1, "trial": "1", "loss": "0.5", "global_step": "1"}' >> $CLOUD_ML_HP_METRIC_FILE"""

RATE = hyperparameter_tuning.DoubleParameterSpec(min=0.1, max=1.0, scale="linear")


@light
def id_of(model: Input[Artifact]) -> str:
    return model.metadata["resourceName"].rsplit("/", 1)[1]


custom_train = create_custom_training_job_from_component(train, display_name="train", machine_type="n1-standard-4")
CONTAINER = {
    "imageUri": IMAGE,
    "command": ["python3", "-c", SERVER],
    "predictRoute": "/predict",
    "healthRoute": "/health",
}


def pool(*command: str) -> dict:
    """A worker pool of one replica."""
    return {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": IMAGE, "command": list(command)},
    }


@dsl.pipeline(name="prebuilt")
def prebuilt(instances: str, predictions: str, dataset: str, project: str = "{{$.pipeline_google_cloud_project_id}}"):
    table = {"projectId": project, "datasetId": dataset, "tableId": "answers"}
    BigqueryQueryJobOp(query="SELECT 6 * 7 AS answer", job_configuration_query={"destinationTable": table})
    endpoint = EndpointCreateOp(display_name="served")
    trained = custom_train(text="hello")
    unmanaged = dsl.importer(
        artifact_uri=trained.outputs["folder"],
        artifact_class=UnmanagedContainerModel,
        metadata={"containerSpec": CONTAINER},
    )
    uploaded = ModelUploadOp(display_name="late-arrival", unmanaged_container_model=unmanaged.output)
    model = ModelGetOp(model_name=id_of(model=uploaded.outputs["model"]).output)
    evaluated = ModelImportEvaluationOp(
        model=model.outputs["model"],
        metrics=trained.outputs["metrics"],
        problem_type="classification",
        display_name="held out",
    )
    deployed = ModelDeployOp(
        model=uploaded.outputs["model"],
        endpoint=endpoint.outputs["endpoint"],
        dedicated_resources_machine_type="n1-standard-2",
        dedicated_resources_min_replica_count=1,
        traffic_split={"0": 100},
    )
    predicted = ModelBatchPredictOp(
        job_display_name="august",
        model=model.outputs["model"],
        gcs_source_uris=[instances],
        gcs_destination_output_uri_prefix=predictions,
        machine_type="n1-standard-2",
    )
    undeployed = ModelUndeployOp(
        model=uploaded.outputs["model"], endpoint=endpoint.outputs["endpoint"], traffic_split={}
    ).after(deployed, predicted, evaluated)
    EndpointDeleteOp(endpoint=endpoint.outputs["endpoint"]).after(undeployed)
    HyperparameterTuningJobRunOp(
        display_name="tuned",
        base_output_directory=predictions,
        worker_pool_specs=[pool("sh", "-c", REPORT)],
        study_spec_metrics=serialize_metrics({"loss": "minimize"}),
        study_spec_parameters=serialize_parameters({"rate": RATE}),
        max_trial_count=2,
        parallel_trial_count=2,
    )


@dsl.pipeline(name="kept")
def kept(rows: str, folder: str, project: str = "{{$.pipeline_google_cloud_project_id}}"):
    dataset = TabularDatasetCreateOp(display_name="flights", gcs_source=rows, project=project)
    TabularDatasetExportDataOp(dataset=dataset.outputs["dataset"], output_dir=folder, project=project)
    unmanaged = dsl.importer(
        artifact_uri=folder, artifact_class=UnmanagedContainerModel, metadata={"containerSpec": CONTAINER}
    )
    uploaded = ModelUploadOp(display_name="late-arrival", unmanaged_container_model=unmanaged.output)
    exported = ModelExportOp(
        model=uploaded.outputs["model"], export_format_id="custom-trained", artifact_destination=folder
    )
    ModelDeleteOp(model=uploaded.outputs["model"]).after(exported)


@dsl.pipeline(name="cancelled")
def sleeping():
    machine = {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": "1"}
    container = {"imageUri": IMAGE, "command": ["sleep", "600"]}
    CustomTrainingJobOp(
        display_name="sleeping",
        worker_pool_specs=[{"machineSpec": machine, "replicaCount": "1", "containerSpec": container}],
    )
    HyperparameterTuningJobRunOp(
        display_name="sleeping",
        base_output_directory="",
        worker_pool_specs=[pool("sh", "-c", "sleep 600")],
        study_spec_metrics=serialize_metrics({"loss": "minimize"}),
        study_spec_parameters=serialize_parameters({"rate": RATE}),
        max_trial_count=1,
        parallel_trial_count=1,
    )


@dsl.pipeline(name="refused")
def refused(file: str, folder: str, resources: str):
    told = VertexNotificationEmailOp(recipients=["team@example.com"])
    with dsl.ExitHandler(told):
        DataflowPythonJobOp(python_module_path=file, temp_location=folder)
        DataflowFlexTemplateJobOp(container_spec_gcs_path=file)
        DataprocPySparkBatchOp(main_python_file_uri=file)
        ImageDatasetCreateOp(display_name="clouds")
        WaitGcpResourcesOp(gcp_resources=resources)
        BigqueryCreateModelJobOp(
            query="CREATE MODEL flights.late OPTIONS (model_type='linear_reg') AS SELECT 1 AS label"
        )
        CustomTrainingJobOp(display_name="pools", worker_pool_specs=[{"containerSpecs": {"imageUri": IMAGE}}])
