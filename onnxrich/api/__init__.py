"""The public verbs. They check the options, and work here or in a worker process."""
