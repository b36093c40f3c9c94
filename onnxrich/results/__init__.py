"""What an analysis, a comparison or a training gave, as data that can be saved and loaded."""
