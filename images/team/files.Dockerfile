# A team's files on top of an image that runs none of the team's code, such as data validation: what its code needs is
# not installed.
#   docker build -f images/team/files.Dockerfile --build-arg BASE=REGION-docker.pkg.dev/PROJECT/mlops/data-validation \
#     -t REGION-docker.pkg.dev/PROJECT/mlops/MODEL-data-validation examples/flights
ARG BASE
FROM ${BASE}
WORKDIR /app
COPY . /app
