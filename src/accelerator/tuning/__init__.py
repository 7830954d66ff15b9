"""Hyperparameter tuning: the search space beside the training code, searched by Vertex AI.

The trials run in the training container, which reports by accelerator.training.metrics.
"""
