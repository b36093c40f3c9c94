"""The corpus of hostile models, data, side files, saved files and surroundings; `corpus` lists its cases."""
