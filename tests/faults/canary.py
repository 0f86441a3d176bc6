"""What no file may have imported or called: fuzzed files name it."""


class Canary:
    """A class that plans may name as their network, and pickles as an object's."""

    def __init__(self, *_: object, **__: object) -> None:
        raise SystemExit("A file has called the canary.")
