"""The worker process, which can be ended at any time."""
