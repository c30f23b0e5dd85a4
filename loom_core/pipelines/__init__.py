"""Pipelines: a checked plan, and the program that runs it."""
