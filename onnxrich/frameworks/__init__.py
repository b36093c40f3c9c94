"""What every adapter of a framework needs: registry, export, parity with the framework, swapped weights."""
