"""Batch prediction: a model's serving containers asked for every row of a table or of files, the answers written out.

`service` is the API, `run` one job in the server; the rows pass through a process of their own, `worker`.
"""
