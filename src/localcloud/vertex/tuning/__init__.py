"""Hyperparameter tuning jobs: trials that are custom jobs, with parameters from localcloud.vertex.vizier.

`service` is the API, `run` one job as it runs, `trial` what a trial is given and `reports` what it reports.
"""
