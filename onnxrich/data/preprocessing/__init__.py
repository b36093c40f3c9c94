"""Preprocessing of rows: its steps, and where they are declared."""
