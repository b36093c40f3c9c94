"""`python -m onnxrich`: the command `onnxrich`."""

from onnxrich.cli import main

if __name__ == "__main__":
    main()
