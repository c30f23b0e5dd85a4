"""What outsiders ask of the durable backend: HTTP, watches, tools. They know runs; it knows instances."""
