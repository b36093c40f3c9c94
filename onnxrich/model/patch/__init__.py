"""Patches: small protobuf messages that, appended to a model's bytes, expose its head or sum its moments."""
