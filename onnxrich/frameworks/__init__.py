"""Everything that adapters of frameworks share: registry, items, export, parity check, and swapped weights.

No module in this room imports a framework; the packages in `adapters/` do, inside of functions.
"""
