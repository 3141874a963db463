"""Ctrl-C in a long run: finish the step, save, then stop."""

import signal
import threading


class Interrupt:
    """Turns Ctrl-C into a wish to stop after the step; pressed again, it stops at once.

    Example:
        >>> with Interrupt() as interrupt:
        ...     interrupt.pressed
        False
    """

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> "Interrupt":
        """Listen."""
        if threading.current_thread() is threading.main_thread():  # signals go nowhere else
            self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signal back to who had it."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _press(self, number: int, frame: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
