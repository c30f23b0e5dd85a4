"""The engine as the Durable SDK's clients know it: TaskHubSidecarService, in-process and over gRPC."""
