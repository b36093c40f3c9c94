"""Patches: protobuf messages that, appended to a model's bytes, output its head's rows or sum their moments."""
