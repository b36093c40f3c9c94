"""Keeps pytest from importing models of frameworks in environments that lack them."""

collect_ignore_glob = ["_*.py"]
