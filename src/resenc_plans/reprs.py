"""How public objects show themselves: one to ten lines, none longer than 100 characters."""

from collections.abc import Iterable, Mapping
from reprlib import Repr
from textwrap import wrap
from typing import TYPE_CHECKING

from resenc_plans.errors import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

MAX_LINES = 10
MAX_LENGTH = 100
MAX_VALUE_LENGTH = 60
"""Of one value among others."""

_INDENT = "    "


class _Short(Repr):
    """`repr` of a value in a few words, on one line."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MAX_VALUE_LENGTH

    def repr_instance(self, x: object, level: int) -> str:
        return repr(x) if level > 0 else "..."


_SHORT = _Short()


def call(name: str, values: Mapping[str, object]) -> str:
    """`Name(key=value, ...)`; long values are cut, and lines wrapped between values.

    >>> call("Range", {"low": 7.5, "high": 9})
    'Range(low=7.5, high=9)'
    """
    parts = [f"{key}={_cut(_SHORT.repr(value), MAX_VALUE_LENGTH)}" for key, value in values.items()]
    text = f"{name}({', '.join(parts)})"
    if len(text) <= MAX_LENGTH:
        return text
    lines = [f"{_cut(name, MAX_LENGTH - 1)}("]
    for part in parts:
        joined = f"{lines[-1]} {part},"
        if len(lines) > 1 and len(joined) <= MAX_LENGTH:
            lines[-1] = joined
        else:
            lines.append(_end(f"{_INDENT}{part},", MAX_LENGTH))
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join(_few(lines, MAX_LINES - 1)) + "\n)"


def call_of_model(model: "BaseModel") -> str:
    """`call` with the fields that differ from their defaults, and with extra ones."""
    fields = type(model).model_fields
    values = {key: getattr(model, key) for key in fields}
    changed = {key: value for key, value in values.items() if value != fields[key].default}
    return call(type(model).__name__, {**changed, **(model.model_extra or {})})


def card(title: str, rows: Mapping[str, object], text: str = "") -> str:
    """A title, a text below it, and a line for each row that is neither None nor empty.

    >>> print(card("Dataset900_Phantom", {"cases": 8, "folder": None}))
    Dataset900_Phantom
        cases  8
    """
    texts = {key: _cut(str(value), MAX_LENGTH) for key, value in rows.items() if value is not None}
    texts = {key: text for key, text in texts.items() if text}
    width = max(map(len, texts), default=0)
    lines = [f"{_INDENT}{key:<{width}}  {text}" for key, text in texts.items()]
    lines = [*wrap(text, MAX_LENGTH, initial_indent=_INDENT, subsequent_indent=_INDENT), *lines]
    shown = [_end(line, MAX_LENGTH) for line in _few(lines, MAX_LINES - 1)]
    return "\n".join([_cut(title, MAX_LENGTH), *shown])


def listed(names: Iterable[object], limit: int = 6) -> str:
    """The first few names, and how many there are beyond them.

    >>> listed(range(9), 3)
    '0, 1, 2 and 6 more'
    """
    names = list(names)
    text = ", ".join(map(str, names[:limit]))
    return f"{text} and {len(names) - limit} more" if len(names) > limit else text


def rounded(value: float, digits: int = 3) -> str:
    """A figure to so many digits; large ones without an exponent.

    >>> rounded(1234.5), rounded(0.0012345), rounded(136.2, 2)
    ('1230', '0.00123', '140')
    """
    return f"{float(f'{value:.{digits}g}'):.15g}"


def numbers(values: Iterable[float], separator: str = "x", digits: int = 5) -> str:
    """Sizes or spacings.

    >>> numbers((128, 96.5, 1.3780260484256488))
    '128x96.5x1.378'
    """
    return separator.join(_number(value, digits) for value in values)


def _number(value: float, digits: int) -> str:
    try:
        return f"{value:.{digits}g}"
    except OverflowError:  # an integer from a file, beyond what Python's fractions hold
        return shown(value, 20)


def _cut(text: str, limit: int) -> str:
    """The text in one line."""
    return _end(" ".join(text.split()), limit)


def _end(line: str, limit: int) -> str:
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def _few(lines: list[str], limit: int) -> list[str]:
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"{_INDENT}... ({len(lines) - limit + 1} more)"]
