"""The one loopback port: CONNECT, TLS, gRPC, REST and the console, told apart by their first bytes.

It knows services only as `service.Api` objects and Google's surface only as the catalog.
"""
