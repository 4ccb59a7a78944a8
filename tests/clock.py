"""Time that passes when the test says so."""


class Clock:
    """Seconds; call it to read it, ``sleep`` to let it pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
