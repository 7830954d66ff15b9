"""Pub/Sub: topics, subscriptions, snapshots; messages kept in SQLite, delivered by pull, stream and push.

The interface is google.pubsub.v1's Publisher and Subscriber; schemas are not offered (UNIMPLEMENTED).
"""
