"""What this process has changed on disk, so that a command that fails can say if it did nothing."""

_changes = 0


def note_change() -> None:
    """Count one more file or folder that was put in place, moved, appended to or removed."""
    global _changes
    _changes += 1


def changes() -> int:
    """How many there were since the process began; two threads at once may count as one."""
    return _changes
