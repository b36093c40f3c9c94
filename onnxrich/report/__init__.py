"""Analysis for people: text for a terminal, figures, an HTML page, and the folder of files that holds them.

Each format has one module with one entry point for every kind of result. This package imports none of them, so that a
program loads only the libraries of the formats that it uses.
"""
