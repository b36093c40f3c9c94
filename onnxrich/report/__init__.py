"""Analysis for people: text for a terminal, figures, one HTML page, and the files that hold them.

A renderer turns `Analysis` into text or bytes and touches nothing else; only `files` writes. Nothing is imported here:
each renderer brings its own library, and none is loaded before it is used.
"""
