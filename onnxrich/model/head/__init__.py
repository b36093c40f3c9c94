"""The head of a model: its last linear layer, the features of that layer, and the hidden layers before it."""
