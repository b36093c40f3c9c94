"""The head of a model: the last linear layer, its features, and the hidden layers before it."""
