"""Images: decoded in processes of their own, and laid out as the model takes them."""
