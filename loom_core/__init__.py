"""Loom: durable execution for AI agents. The public names load on first use, so that they cost no cold start."""
