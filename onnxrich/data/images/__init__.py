"""Images: decoding, decoding of many at once, and their layout as an input takes them."""
