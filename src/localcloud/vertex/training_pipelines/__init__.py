"""Training pipelines: a dataset's splits, the custom job that trains on them, the model uploaded at the end."""
