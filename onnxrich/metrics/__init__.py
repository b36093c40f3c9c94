"""Metrics, curves and their errors, computed from moments: one file per family of metrics.

SciPy is imported inside the functions that use it: it takes longer to load than NumPy, and most commands need none.
"""
