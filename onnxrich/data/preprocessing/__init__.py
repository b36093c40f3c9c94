"""What is done to rows before the model sees them, and who declared it."""
