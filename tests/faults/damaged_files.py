"""Damage files of every format that is read, each by its own structure; the content tells which."""

import functools
import gzip
import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from tests.faults.damage import NAMES, Damager, damage_bytes, damage_json, packed

SHARE_OF_BYTES = 0.3
"""How often a file is damaged without regard to its structure."""


def damage_file(random: Random, content: bytes) -> bytes:
    """A valid file with some damage. A zip archive's files are damaged in the same way.

    Pickles are loaded here, so this is not for files that are damaged already.
    """
    if content[:1] in (b"{", b"["):
        return damage_json(random, content)
    if random.random() < SHARE_OF_BYTES:
        return damage_bytes(random, content)
    for magic, damage in _BY_MAGIC.items():
        if content.startswith(magic):
            return damage(random, content)
    if len(content) >= _NIFTI_HEADER and content[344:347] == b"n+1":
        return _damage_nifti(random, content)
    return damage_bytes(random, content)


_NIFTI_HEADER = 348
_FIELDS: tuple[tuple[int, str], ...] = (
    *((0, "i"), (70, "h"), (70, "h"), (72, "h"), (108, "f"), (112, "f"), (116, "f")),
    *((40 + 2 * number, "h") for number in range(8)),
    *((40, "h"), (108, "f")),
    *((76 + 4 * number, "f") for number in range(8)),
    *((252 + 2 * number, "h") for number in range(2)),
    *((256 + 4 * number, "f") for number in range(18)),
    *((344 + number, "b") for number in range(4)),
)
"""Offsets and types of the header's fields that matter."""
_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 77)


def _damage_nifti(random: Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(random.randint(1, 3)):
        offset, code = random.choice(_FIELDS)
        value = packed(random, code)
        if code in "hi" and random.random() < 0.6:
            number = random.choice(_TYPES) if offset == 70 else random.randint(-1, 9)
            value = struct.pack(f"<{code}", number)
        data[offset : offset + len(value)] = value
    if random.random() < 0.2:
        data = bytearray(damage_bytes(random, bytes(data)))
    return bytes(data)


def _damage_gzip(random: Random, content: bytes) -> bytes:
    try:
        data = gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return damage_bytes(random, content)
    data = damage_file(random, data) if random.random() < 0.9 else data
    if random.random() < 0.15:
        return data
    packed_again = gzip.compress(data, 1, mtime=0)
    match random.randrange(10):
        case 0:
            return damage_bytes(random, packed_again)
        case 1:
            return packed_again + _zeros() * random.choice((1, 1, 1, 1, 2, 20))
        case 2:
            return packed_again * 2
    return packed_again


@functools.cache
def _zeros() -> bytes:
    """16 MiB of zeros, in 16 kB."""
    return gzip.compress(bytes(1 << 24), 6, mtime=0)


class _Call:
    """Pickled, it asks for a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _laughs() -> list[Any]:
    """Ten lists of ten lists of …: small in a pickle, endless for whoever prints or copies it."""
    value: list[Any] = [1]
    for _ in range(12):
        value = [value] * 10
    return value


def _pickled_only() -> tuple[Any, ...]:
    """Values that pickles may hold and JSON may not."""
    import os
    import subprocess

    return (
        _Call(eval, "__import__('os').system('touch escaped')"),
        *(_Call(os.system, "touch escaped"), _Call(subprocess.Popen, ["touch", "escaped"])),
        *(_Call(getattr, "", "format"), _Call(bytearray, 10**10), _Call(bytes, 10**10)),
        *(
            _Call(list, "abc"),
            _Call(np.dtype, "O"),
            _Call(np.ndarray, (10**6, 10**6), np.dtype("f4")),
        ),
        *({1, 2}, b"bytes", bytearray(b"x"), 1j, 10**5000, (1, (2, 3)), OrderedDict(a=1)),
        *(np.float32("nan"), np.int64(2**40), np.bool_(True), np.str_("a"), np.complex64(1j)),
        *(np.zeros(0), np.zeros((0, 4), int), np.zeros((3, 5), int), np.full((2, 4), -9)),
        *(np.array(["a"]), np.array([b"a"]), np.array([None, {}]), np.zeros(2, "M8[s]")),
        *(np.zeros(3, [("a", "i4")]), np.full((2, 4), np.nan), np.arange(8.0)[::2]),
        _Call(list, _laughs()),
        *({1: 2, None: 3, (1, 2): 4}, {-1: np.zeros((1, 4), int)}, frozenset({1})),
    )


_HOSTILE: tuple[bytes, ...] = (
    *(b"\x80\x04Nr" + struct.pack("<I", size) + b"." for size in (1 << 20, 1 << 27, 1 << 31)),
    *(
        b"\x80\x04" + code + struct.pack("<Q", size)
        for code in (b"\x8e", b"\x8d", b"\x95")
        for size in (1 << 30, 1 << 40, 2**64 - 1)
    ),
    *(
        b"\x80\x02" + code + struct.pack("<i", size)
        for code in (b"B", b"X", b"\x8b")
        for size in (2**31 - 1, -1)
    ),
    *(
        b"\x80\x04" + b"(" * 10**6 + b".",
        b"\x80\x04N" + b"\x85" * 10**5 + b".",
        b"\x80\x04" + b"]" * 10**6 + b".",
    ),
    *(
        b"\x80\x04" + b"]" * 20000 + b"a" * 19999 + b".",
        b"I" + b"9" * 10**6 + b"\n.",
        b"F1e999\n.",
        b".",
    ),
    *(
        b"\x80\x04]\x94h\x00a.",
        b"\x80\x04}\x94K\x01h\x00s.",
        b"\x80\x04}\x94]h\x00s.",
        b"\x80\xff.",
        b"\x80\x04P1\n.",
    ),
    *(
        b"cos\nsystem\n(S'touch escaped'\ntR.",
        b"(ios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    ),
    b"ctests.faults.canary\nCanary\n(tR.",
    b"cnumpy\nndarray\n(K\x00K\x00tR.",
    b"cnumpy\ndtype\n(S'O'\nI00\nI01\ntR.",
    b"cbuiltins\nbytearray\n(I10000000000\ntR.",
    b"cbuiltins\nlist\n(cbuiltins\nint\ntR.",
    b"cbuiltins\nstr\n)R(dV__class__\ncbuiltins\nint\nsb.",
)
"""Programs that ask for memory, depth, code or objects of unusual state."""  # fmt: skip


def _damage_pickle(random: Random, content: bytes) -> bytes:
    if random.random() < 0.1:
        return random.choice(_HOSTILE)
    try:
        document = pickle.loads(content)
    except Exception:  # of a checkpoint, which refers to other files of its archive
        return damage_bytes(random, content)
    damaged = Damager(random, _pickled_only()).damage(document)
    try:
        return pickle.dumps(damaged, protocol=random.randint(0, 5))
    except (RecursionError, pickle.PicklingError, TypeError, ValueError, UnicodeError):
        return damage_bytes(random, content)


_NPY_WORDS = (
    (b"<f4", (b"|O ", b"<f8", b"<c8", b"<U9", b"|b1", b"<f2", b"<M8", b"xxx", b"<i8")),
    (b"<i2", (b"|O ", b"<f8", b"<U9", b"<i8", b"<u1")),
    (b"False", (b"True ", b"None ", b"12345", b"[]   ")),
    (b"(1, ", (b"(9, ", b"(-1,", b"(1.,", b"[1, ", b"(99,")),
    (b"'shape'", (b"'shapf'", b"'descr'")),
    (b" }", (b"  ", b",)", b"))")),
)


_SHAPES = (
    *(b"(1000000,)", b"(99999999999,)", b"(-1,)", b"()", b"(0,)", b"(3,10,24,20)"),
    *(b"(2,1,10,24,20)", b"('a',)", b"None", b"(" * 300, b"9" * 5000),
)


def _damage_npy(random: Random, content: bytes) -> bytes:
    """An array whose header says something else."""
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length]
    if random.random() < 0.5:
        shape = random.choice(_SHAPES)
        start, end = header.find(b"("), header.find(b")") + 1
        header = header[:start] + shape + header[end:].rstrip(b" \n") + b"\n"
    else:
        old, new = random.choice(_NPY_WORDS)
        header = header.replace(old, random.choice(new))
    size = struct.pack("<H", len(header))
    return content[:8] + size + header + content[10 + length :]


def _damage_zip(random: Random, content: bytes) -> bytes:
    """An archive of which entries, or what it says of them, are changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source:
            entries = [(entry, source.read(entry)) for entry in source.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, zlib.error):
        return damage_bytes(random, content)
    if any(entry.filename.endswith("data.pkl") for entry, _ in entries) and random.random() < 0.6:
        return _damage_checkpoint(random, content)
    kept = list(entries)
    for entry, data in random.sample(entries, min(len(entries), random.randint(1, 2))):
        number = kept.index((entry, data))
        match random.randrange(9):
            case 0:
                del kept[number]
            case 1:
                kept[number] = _renamed(entry, _name(random, entry.filename)), data
            case 2:
                kept.append((_renamed(entry, _name(random, entry.filename)), data))
            case 3:
                link = _renamed(entry, entry.filename)
                link.external_attr = random.choice((0o120777, 0o060666, 0o010666)) << 16
                kept[number] = link, b"/etc/passwd"
            case 4:
                kept[number] = entry, random.choice((b"", b"{}", b"[]", bytes(10**6)))
            case _:
                kept[number] = entry, damage_file(random, data)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for entry, data in kept:
            target.writestr(_renamed(entry, entry.filename), data, entry.compress_type)
    result = bytearray(stream.getvalue())
    if random.random() < 0.2:
        start = result.rfind(random.choice((b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04")))
        offset = start + random.randint(4, 46)
        result[offset : offset + 4] = packed(random, random.choice("HI"))
    return bytes(result)


def _name(random: Random, name: str) -> str:
    """Another name of an entry, which may lead elsewhere."""
    folder, _, last = name.rpartition("/")
    odd = random.choice(NAMES).replace("\ud800", "\ufffd")
    return random.choice(
        (odd, f"{folder}/{odd}", f"{odd}/{last}", f"/{name}", f"../{name}", name.upper(), name)
    ) or "x"  # fmt: skip


def _renamed(entry: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    new = zipfile.ZipInfo("x", (1980, 1, 1, 0, 0, 0))
    new.filename = name
    new.compress_type, new.external_attr = entry.compress_type, entry.external_attr
    return new


def _damage_checkpoint(random: Random, content: bytes) -> bytes:
    """A checkpoint that holds something else, saved as checkpoints are."""
    import torch

    weight = torch.ones(2, 3)
    more = (
        *(weight, weight.to(torch.complex64), weight.bool(), weight.half(), weight.to(torch.int64)),
        *(weight * float("nan"), torch.zeros(1).expand(10**9), torch.zeros(0), torch.tensor(1.0)),
        *(weight.to_sparse(), torch.quantize_per_tensor(weight, 0.1, 0, torch.quint8)),
        *(torch.nn.Parameter(weight), torch.nn.Linear(1, 1), torch.float32, torch.Size([1])),
        *(weight.to("meta"), weight.to(torch.bfloat16), weight.t(), *_pickled_only()),
    )
    document = torch.load(io.BytesIO(content), weights_only=False)
    damager = Damager(random, more)
    if random.random() < 0.5:
        key = random.choice(list(document))
        document[key] = damager.damage(document[key])
    else:
        document = damager.damage(document)
    stream = io.BytesIO()
    try:
        torch.save(document, stream)
    except Exception:  # of values that cannot be saved
        return damage_bytes(random, content)
    return stream.getvalue()


_BY_MAGIC: dict[bytes, Callable[[Random, bytes], bytes]] = {
    b"\x1f\x8b": _damage_gzip,
    b"PK": _damage_zip,
    b"\x80": _damage_pickle,
    b"\x93NUMPY": _damage_npy,
}
