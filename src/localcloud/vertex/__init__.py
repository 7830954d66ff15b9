"""Vertex AI: custom jobs, the Model Registry, endpoints and online prediction, really done on this machine.

`api.api` puts the services together; processes are localcloud.runtime's, files localcloud.objects'.
"""
