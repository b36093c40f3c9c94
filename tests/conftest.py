"""What all tests share."""

from __future__ import annotations

import signal

# Started in the background, a process ignores interrupts, and so would all that it starts; tests of Ctrl-C need them.
signal.signal(signal.SIGINT, signal.default_int_handler)
