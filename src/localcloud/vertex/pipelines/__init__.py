"""Vertex AI Pipelines: runs of the KFP intermediate representation, executed here.

`service` is the API, `run` one run with its scheduling, `graph` the tasks and sub-DAGs of a run; `container` and
`importer` are what a leaf task does; `spec`, `values`, `expressions` and `placeholders` are the language.
"""
