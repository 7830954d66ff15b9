"""Vertex AI Vizier: studies, their trials, and what to try next, with Optuna underneath.

`space` is what may be tried, `suggesting` what is, `metrics` what came out, `stopping` when it is enough; `studies`,
`trials` and `suggestions` are the parts of one gRPC service, VizierService. Tuning jobs use the same rooms.
"""
