"""Vertex AI datasets: where tabular data is, and its splits as what jobs read."""
