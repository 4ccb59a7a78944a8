"""Something that is done again and again beside what is looked at: traffic, mostly.

```python
with steadily(lambda: ping(one, other), per_second=20):
    look()
```
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steadily(doing: Callable[[], object], per_second: float) -> Iterator[None]:
    """Do it in a thread of its own until the block ends, at most so many times a second."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(1 / per_second):
            doing()

    thread = threading.Thread(target=keep, name="lab-steady", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
