"""From what the user has to batches: one spine, and one file a format."""
