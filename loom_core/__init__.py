"""Loom: durable execution for AI agents. Public names load on first use, so they cost no cold start."""
