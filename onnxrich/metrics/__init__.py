"""Metrics, curves and their errors, computed from moments. One file a family."""
