"""Cloud Storage: the JSON API and object paths of the XML API, on plain files.

api.py is the way in; docs/storage.md says how it works and what it leaves out.
"""
