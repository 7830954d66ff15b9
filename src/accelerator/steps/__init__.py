"""The steps from a table to an endpoint, each a function on Google's clients: what commands and pipelines are made of.

No step knows which cloud it talks to, and none prints: they return what came of it.
"""
