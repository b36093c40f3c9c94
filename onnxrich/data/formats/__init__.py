"""The formats of data, one module each, and the registry that imports the one that is needed."""
