"""Keeps pytest from importing the scripts that record, and what is recorded."""

collect_ignore_glob = ["make_fixtures.py", "0.*"]
