"""Tokens, for clients that ask for one before they say anything: OAuth, IAM credentials, the metadata server."""
