"""Words of messages: counted things, and the name that a wrong one is probably meant for."""

from collections.abc import Iterable
from difflib import get_close_matches


def counted(number: float, noun: str, plural: str | None = None, *, form: str = "") -> str:
    """A number and its noun, singular for one; `form` is a format, such as `,` for thousands.

    A verb after the noun changes with it, so it is a part of both.

    >>> counted(1, "case"), counted(2, "case is", "cases are"), counted(1000, "case", form=",")
    ('1 case', '2 cases are', '1,000 cases')
    """
    text = f"{number:{form}}"
    return f"{text} {noun if text == '1' else plural or f'{noun}s'}"


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known name that resembles a wrong one most, whatever the case of letters.

    `likeness` is what it must have at least: the share of letters in common, from 0 to 1.

    >>> nearest("dise", ("Dice", "IoU")), nearest("colour", ("Dice", "IoU"))
    ('Dice', None)
    """
    by_folded = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), by_folded, n=1, cutoff=likeness)
    return by_folded[close[0]] if close else None


def suggestion(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """The nearest name as one more sentence of a message; empty where none is near.

    >>> suggestion("dise", ("Dice", "IoU"))
    ' Did you mean Dice?'
    """
    close = nearest(name, known, likeness=likeness)
    return f" Did you mean {close}?" if close else ""


def meant(name: str, known: Iterable[str]) -> str:
    """The nearest name as an addition within a sentence; empty where none is near.

    >>> meant("dise", ("Dice", "IoU"))
    ' (did you mean Dice?)'
    """
    close = nearest(name, known)
    return f" (did you mean {close}?)" if close else ""
