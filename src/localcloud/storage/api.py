"""Cloud Storage as a service of the local cloud: its hosts, and what happens at start and stop."""

from __future__ import annotations

from localcloud.service import Api, Cloud
from localcloud.storage.app import PATHS, StorageApp
from localcloud.storage.notifications import Notifications
from localcloud.storage.recovery import recover
from localcloud.storage.store import Store


def api(cloud: Cloud) -> Api:
    """The service, on the state folder of this cloud."""
    store = Store(cloud.root)
    notifications = Notifications(store, cloud.call)

    def start() -> None:
        recover(store)
        notifications.start()

    def stop() -> None:
        notifications.stop()
        store.database.close()

    return Api(
        "storage",
        hosts=(
            "storage.googleapis.com",
            "*.storage.googleapis.com",
            "storage.mtls.googleapis.com",
        ),
        http=StorageApp(store, notifications),
        paths=PATHS,
        start=start,
        stop=stop,
    )
