"""The moment matrix, its laws, and the targets and precision that it rests on. Arrays in, numbers out."""
