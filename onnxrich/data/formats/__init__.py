"""The formats of data, one file each, and the registry that picks one."""
