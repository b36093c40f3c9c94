"""Keeps pytest from importing the generators: they need frameworks that the tests do without."""

collect_ignore_glob = ["*.py"]
