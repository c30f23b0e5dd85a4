"""The stored side of actors: what they did, what they were, and what is on its way."""
