"""Queries by aggregate: each takes a session and never commits."""
