"""The catalogue: the pipelines that an app ships and those that were stored, with all their versions."""
