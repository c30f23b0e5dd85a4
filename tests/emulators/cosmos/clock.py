"""The time the server believes in: the machine's, plus what a test has skipped."""

import time


class Clock:
    def __init__(self, now=time.time):
        self._now = now
        self._ahead = 0.0

    def time(self):
        """Seconds since the epoch."""
        return self._now() + self._ahead

    def advance(self, seconds):
        """Skip time; it never goes back."""
        if not seconds >= 0:
            raise ValueError(f"the clock cannot go back: {seconds}")
        self._ahead += seconds
