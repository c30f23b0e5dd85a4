"""The values that cross rooms: JSON, commands, expressions."""
