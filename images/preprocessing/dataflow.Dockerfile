# The image of Dataflow's workers, and of the step that starts them: a team's preprocessing image with the program
# that Dataflow starts containers by. `mlops build` builds it where preprocessing.runner is DataflowRunner.
#   docker build -f images/preprocessing/dataflow.Dockerfile --build-arg BASE=... --build-arg BEAM=2.77.0 -t ... images
ARG BASE
ARG BEAM
FROM apache/beam_python3.11_sdk:${BEAM} AS beam
FROM ${BASE}
COPY --from=beam /opt/apache/beam /opt/apache/beam
ENTRYPOINT ["/opt/apache/beam/boot"]
