"""Vertex AI TensorBoard: instances, experiments, runs and time series, and the points in them.

`service` holds the resources, `data` writes and reads points, `points` keeps them; the first two are parts of one gRPC
service, TensorboardService.
"""
