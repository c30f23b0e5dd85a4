"""The embedded durable engine: the Durable Task message model on one SQLite file."""
