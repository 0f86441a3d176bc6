"""Damage valid input: JSON values by their structure, other files by their bytes.

All chance comes from the generator that is passed in, so the same seed makes the same damage.
"""

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_RAW, _RAW_END, _AGAIN = "\ue000", "\ue001", "\ue002"
"""Marks in a document: of text that is written as it is, and of a key that is written twice."""
_MARKED = re.compile(r'"\\ue000((?:[^"\\]|\\(?!ue00[01]).)*)\\ue001"')


def raw(text: str) -> str:
    """A value that `encoded` writes as this text: what no JSON library would write."""
    return f"{_RAW}{text}{_RAW_END}"


def encoded(document: Any) -> bytes:
    """A document as JSON, with what `raw` and doubled keys stand for."""
    text = _MARKED.sub(lambda found: json.loads(f'"{found[1]}"'), json.dumps(document))
    return text.replace('\\ue002":', '":').encode()


NAMES: tuple[str, ...] = (
    *(
        "",
        " ",
        ".",
        "..",
        "../../../escaped",
        "/tmp/escaped",
        "a/b",
        "a\\b",
        "C:x",
        "nul",
        "CON.json",
    ),
    *("a\0b", "a\nb", "\x1b[31m", "\ud800", "\u202egnp", "e\u0301", "\U0001f9e0", "x" * 300),
    *("%s", "{0}", "[red]", "$HOME", "~", "0", "1", "-1", "nan", "null", "true", "1e999"),
    *("os.system", "builtins.eval", "torch.nn.Conv3d", "tests.faults.canary.Canary"),
)
"""Strings that may be taken for a path, a number, markup or something to import."""

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**23),
    *(0.5, -0.5, -0.0, 1e-300, 5e-324, 1e-5, 1e6, 1e16, 1e300, float("nan"), float("inf")),
    *(
        float("-inf"),
        raw("9" * 400),
        raw("9" * 5000),
        raw("-" + "9" * 5000),
        raw("1e999"),
        10_000_000,
    ),
)

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        [],
        {},
        [[]],
        [{}],
        [None],
        [0],
        [1, 2, 3],
        [1, 1, 1, 1],
        {"a": 1},
        {"": {}},
    ),
    *([0.5] * 3, [[1, 2], [3]], ["a", 1, None], "x" * 100_000, {"x" * 100_000: 1}, [7] * 3000),
    *(raw("[" * levels + "]" * levels) for levels in (20, 60, 500, 900, 20_000)),
    *(raw('{"a":' * levels + "1" + "}" * levels) for levels in (60, 700)),
    *(raw(text) for text in ("", "undefined", "'a'", "[1,]", "01", "0x1", "NaN", "// no")),
)


_HUGE = 10**100
"""Integers from which on Python's fractions overflow, or its text refuses them."""


class Damager:
    """Damages JSON values; pickles and checkpoints have `more` values that JSON lacks."""

    def __init__(self, random: Random, more: Sequence[Any] = ()) -> None:
        self.random = random
        self.more = more
        self._root: list[Any] = []
        """Holds the document."""

    def damage(self, document: Any) -> Any:
        """The document, which is changed in place, with one damage or a few."""
        self._root = [document]
        for _ in range(1 + min(4, int(self.random.expovariate(1.0)))):
            self.random.choice(self._DAMAGES)(self, *self._place())
        return self._root[0]

    def value(self) -> Any:
        """Something that was not expected."""
        kinds = [NAMES, NUMBERS, ODD, *([self.more] * 2 if self.more else [])]
        value = self.random.choice(self.random.choice(kinds))
        return _copied(value)

    def _place(self) -> tuple[Any, Any]:
        """A container and one of its keys, any depth as likely as another."""
        holder: Any = self._root
        key: Any = 0
        while isinstance(holder[key], dict | list) and holder[key] and self.random.random() < 0.8:
            holder = holder[key]
            key = self._key(holder)
        return holder, key

    def _key(self, holder: Any) -> Any:
        return self.random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))

    def _replace(self, holder: Any, key: Any) -> None:
        holder[key] = self.value()

    def _scale(self, holder: Any, key: Any) -> None:
        """Numbers near those that are meant, and far from them."""
        value = holder[key]
        if isinstance(value, int | float) and abs(value) < _HUGE:
            factor = self.random.choice((-1, 0, 2, 10, 1000, 10**6, 0.5, 1e-3, 1e-9, 1e9, 1e200))
            holder[key] = value * factor
        else:
            holder[key] = self.random.choice(NUMBERS)

    def _copy(self, holder: Any, key: Any) -> None:
        """A value of another place of the document."""
        other, name = self._place()
        holder[key] = _copied(other[name])

    def _name(self, holder: Any, key: Any) -> None:
        """A key of the document as a value, so that what refers to others refers to them."""
        other, name = self._place()
        holder[key] = name
        if isinstance(other, dict) and isinstance(name, str) and self.random.random() < 0.3:
            other[name] = holder[key]

    def _retype(self, holder: Any, key: Any) -> None:
        value = holder[key]
        others: list[Any] = [[value], {"value": value}, _text(value), True]
        if isinstance(value, dict):
            others += [list(value), list(value.values())]
        elif isinstance(value, list):
            others += [dict(zip(map(str, range(len(value))), value, strict=True)), *value[:1]]
        elif isinstance(value, str):
            others += [list(value[:50]), len(value)]
        elif isinstance(value, int | float) and abs(value) < _HUGE:
            others += [float(value) + 0.5 if abs(value) < 1e9 else None, [value] * 3]
        holder[key] = self.random.choice(others)

    def _drop(self, holder: Any, key: Any) -> None:
        if holder is self._root:
            holder[key] = type(holder[key])() if isinstance(holder[key], dict | list) else None
        else:
            del holder[key]

    def _grow(self, holder: Any, key: Any) -> None:
        """A container with more in it, or less."""
        value = holder[key]
        if isinstance(value, list):
            extra = [self.value()] if not value or self.random.random() < 0.5 else value
            times = self.random.choice((1, 1, 2, 200))
            holder[key] = [*value, *(extra * times)][: self.random.choice((1, 2, 5, 2000))]
        elif isinstance(value, dict):
            name = self.random.choice(NAMES)
            value[name] = self.value()
        else:
            holder[key] = [value] * self.random.choice((0, 2, 3, 4, 2000))

    def _rename(self, holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            new = self.random.choice((self.random.choice(NAMES), f"{key} ", f"{key}{_AGAIN}"))
            holder[new] = _copied(holder[key]) if _AGAIN in new else holder.pop(key)
        else:
            self._replace(holder, key)

    def _shuffle(self, holder: Any, key: Any) -> None:
        """Values of one container change places."""
        other = self._key(holder)
        holder[key], holder[other] = holder[other], holder[key]

    _DAMAGES: tuple[Callable[["Damager", Any, Any], None], ...] = (
        *(_replace, _replace, _replace, _scale, _scale, _copy, _name, _retype, _retype),
        *(_drop, _grow, _rename, _shuffle),
    )


def _text(value: Any) -> str:
    """A string in place of a value: a number in quotes, or a word."""
    is_number = isinstance(value, int | float) and abs(value) < _HUGE
    return str(value) if is_number or value is None else type(value).__name__


def _copied(value: Any) -> Any:
    """A copy of containers, so that no value holds itself."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def damage_json(random: Random, content: bytes) -> bytes:
    """A JSON file with its structure damaged, and now and then its text or its encoding."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):  # of a file in an archive that is damaged already
        return damage_bytes(random, content)
    if random.random() < 0.08:
        return damage_bytes(random, content)
    damaged = encoded(Damager(random).damage(document))
    if random.random() < 0.05:
        encoding = random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037"))
        return damaged.decode().encode(encoding)
    return damage_bytes(random, damaged) if random.random() < 0.05 else damaged


def damage_lines(random: Random, content: bytes) -> bytes:
    """A file of one JSON object per line, of which some are damaged."""
    lines = content.splitlines()
    for number in random.sample(range(len(lines)), min(len(lines), random.randint(1, 2))):
        lines[number] = damage_json(random, lines[number] or b"{}")
    return random.choice((b"\n", b"\n", b"\r\n", b"")).join(lines)


def damage_bytes(random: Random, content: bytes, times: int = 0) -> bytes:
    """Bytes that are changed, cut, moved or doubled, mostly near the start, where headers are."""
    data = bytearray(content)
    for _ in range(times or 1 + min(8, int(random.expovariate(0.6)))):
        if not data:
            return bytes(random.randbytes(random.randint(0, 20)))
        start = int(len(data) * random.random() ** random.choice((1, 1, 4)))
        length = int(min(len(data) - start, random.choice((1, 2, 4, 8, 64, 4096))))
        match random.randrange(9):
            case 0 | 1:
                data[start] ^= 1 << random.randrange(8)
            case 2:
                data[start] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
            case 3 | 4:
                number = packed(random, random.choice("bBhHiIqQfd"))
                data[start : start + len(number)] = number
            case 5:
                del data[start : start + length]
            case 6:
                data[start:start] = random.randbytes(length)
            case 7:
                data[start : start + length] = bytes(length)
            case _:
                del data[start:]
    return bytes(data)


def packed(random: Random, code: str) -> bytes:
    """A number at the limits of a type, in either byte order."""
    order = random.choice("<>")
    size = struct.calcsize(code) * 8
    if code in "fd":
        numbers: Sequence[float] = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -0.0)
        return struct.pack(order + code, random.choice(numbers))
    largest = 2**size - 1
    number = random.choice(
        (0, 1, largest >> 1, (largest >> 1) + 1, largest, random.getrandbits(size))
    )
    return struct.pack(order + code.upper(), number)
