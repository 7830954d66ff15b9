"""Vertex ML Metadata: stores of artifacts, executions and contexts, and the edges between them.

`stores` are the stores and schemas, `nodes` what is in them, `lineage` the questions about how they hang together;
`edges` keeps the edges. All three are parts of one gRPC service, MetadataService.
"""
