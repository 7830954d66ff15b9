"""BigQuery as a service of the local cloud: REST v2 and the Storage API over one warehouse.

What it does is in the modules beside this one; hosts, TLS and transports are the gateway's.
"""

from __future__ import annotations

from localcloud.service import Api, Cloud

from .rest.app import PATHS, application
from .storage_api.read import BigQueryRead
from .storage_api.streams import WriteStreams
from .storage_api.write import BigQueryWrite
from .warehouse import Warehouse


def api(cloud: Cloud) -> Api:
    """BigQuery over the state folder's `bigquery`."""
    warehouse = Warehouse(cloud.root / "bigquery", cloud.objects)
    streams = WriteStreams(warehouse.tables, warehouse.root / "write_streams")
    return Api(
        name="bigquery",
        hosts=("bigquery.googleapis.com", "bigquerystorage.googleapis.com"),
        services=(BigQueryRead(warehouse.reading), BigQueryWrite(warehouse.tables, streams)),
        packages=("google.cloud.bigquery.storage.v1",),
        http=application(warehouse),
        paths=PATHS,
        start=warehouse.recover,
        stop=warehouse.close,
    )
