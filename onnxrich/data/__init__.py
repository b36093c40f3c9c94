"""Data: from the user's files, arrays and iterables to batches of a model's inputs."""
