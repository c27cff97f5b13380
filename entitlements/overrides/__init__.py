"""Overrides as they are kept: in the database, with Redis for all pods, in force within a second."""
