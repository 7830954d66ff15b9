"""Preprocessing as a Beam pipeline: tables of BigQuery through a team's functions into clean tables, bad rows aside."""
