"""Cloud Logging: writing, listing, tailing and deleting log entries; `localcloud.logs` keeps them."""
