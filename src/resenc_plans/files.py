"""Read JSON safely; write files completely or not at all, and never outside of their folder."""

import errno
import io
import json
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from resenc_plans.errors import FileError, expect_type, shown
from resenc_plans.execution.changes import note_change
from resenc_plans.execution.unfinished import moved_aside, unfinished_file, unfinished_folder

MAX_JSON_BYTES = 128 * 1024**2
"""A fingerprint of 100,000 cases takes about 20 MB; anything above this is not ours."""
MAX_JSON_VALUES = 8_000_000
"""A fingerprint of 100,000 cases has about one million; each takes up to 72 bytes of memory."""
MAX_JSON_DEPTH = 64
"""Plans nest seven levels; much more than this exhausts the stack of whoever walks through."""

MAX_PART_BYTES = 200
"""Of a file's or a folder's name; most systems allow 255, and nnU-Net adds to names."""

_CONTAINERS = (dict, list)
_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name)}
_PROBE = 1 << 20
"""Bytes that are written to find out why a library could not write."""

_NUMBERED = (f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³")
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_NUMBERED}
"""Names that Windows keeps for devices, whatever ending follows."""


def part_of_path(name: str, what: str, *, ending: str = "") -> str:
    """`name` with `ending`, where that can be the name of a file or a folder on every system.

    Every string from a file or from a user that becomes a part of a path goes through here, so that
    the path stays inside its folder: `folder / part_of_path(case, "case", ending=".pkl")`.

    Parameters
    ----------
    name
        What somebody has chosen; on its own it is not empty, `.` or `..` either.
    what
        What messages call it: `case`, `data_identifier`.
    ending
        What follows it in the file's name, of which the same is required.

    Raises
    ------
    FileError
        Together they lead elsewhere, or name nothing that every system can store. See
        `fault_of_part`.
    """
    fault = fault_of_part(name if name in ("", ".", "..") else name + ending)
    if fault is not None:
        raise FileError(
            f"{what} {shown(name + ending)}: {fault}, so it cannot name a file or a folder. "
            "Choose another name."
        )
    return name + ending


def fault_of_part(name: str) -> str | None:
    """Why a string cannot be the name of a file or a folder, as a clause; None where it can.

    The rules are those of all systems together, since datasets and models travel between them: no
    empty name, no separators, not `.` or `..`, no drive letter, no control characters, no name of a
    device of Windows, no blank or dot at the end, at most `MAX_PART_BYTES` bytes.

    >>> fault_of_part("Dataset004_Hippocampus")
    >>> fault_of_part("../x"), fault_of_part("nul.json")
    ('it has a slash', 'Windows keeps this name for a device')
    """
    if not name:
        return "it is empty"
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        return "it has characters that no file system stores"
    if "/" in name or "\\" in name:
        return f"it has a {'slash' if '/' in name else 'backslash'}"
    if name in (".", ".."):
        return "it leads to another folder"
    if name[1:2] == ":":
        return "it begins with the letter of a drive"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "it has control characters"
    if name[-1] in " .":
        return "it ends with a blank or a dot, which Windows drops"
    if name.partition(".")[0].partition(":")[0].rstrip(" ").upper() in _DEVICES:
        return "Windows keeps this name for a device"
    if size > MAX_PART_BYTES:
        return f"it has {size} bytes, and {MAX_PART_BYTES} are allowed"
    return None


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as someone wrote it, with the home folder in the place of `~`.

    >>> user_path("../raw").as_posix()
    '../raw'

    Raises
    ------
    FileError
        `~` names a user that does not exist, or no file system stores its characters.
    """
    text = os.fspath(path)
    try:
        os.fsencode(text)
        expanded = Path(text).expanduser()
    except UnicodeEncodeError:
        expanded = None
    except RuntimeError:
        raise FileError(
            f"{text}: the home folder of that user is not known. Write the path without `~`."
        ) from None
    if expanded is None or "\0" in text:
        raise FileError(f"{shown(text)}: has characters that no file system stores.")
    return expanded


def followed(path: Path) -> Path:
    """An absolute path, with all symbolic links followed; what it leads to need not exist.

    Raises
    ------
    FileError
        Its links lead in a circle, or no file can have that name.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be followed: {error}.") from None


def inside(root: Path, path: Path) -> Path:
    """`path`, where it lies in `root` even after all symbolic links are followed.

    `root` itself may be a link, or lie behind one. It need not exist, nor need `path`.

    Raises
    ------
    FileError
        A link leads out of `root`, or in a circle.
    """
    target = followed(path)
    if not target.is_relative_to(followed(root)):
        raise FileError(
            f"{path}: leads to {target}, which is outside of {root}, so nothing is written there. "
            f"Remove the symbolic link; if the data are to be elsewhere, link {root} itself."
        )
    return path


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """The status of a regular file, or of the one that a link leads to.

    Whatever is about to be read goes through here: reading a FIFO waits for ever, and reading a
    device may never end.

    Raises
    ------
    FileError
        There is no such file, or it is a folder, a FIFO, a device or a socket, or its links lead in
        a circle.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise FileError(f"{os.fspath(path)}: no such file.") from None
    except OSError as error:
        in_circle = error.errno == errno.ELOOP
        why = "its symbolic links lead in a circle" if in_circle else error.strerror
        raise FileError(f"{os.fspath(path)}: cannot be read: {why}.") from None
    except ValueError:
        raise FileError(f"{shown(os.fspath(path))}: cannot be the name of a file.") from None
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
        raise FileError(f"{os.fspath(path)}: is a {kind}, a file was expected.")
    return status


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading.

    Raises
    ------
    FileError
        As `check_regular`, or there is no permission to read it.
    """
    check_regular(path)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise FileError(f"{os.fspath(path)}: cannot be read: {error.strerror}.") from None


def read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Raises
    ------
    FileError
        As `open_regular`, it is larger, or reading fails.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            content = stream.read(size + 1) if size <= max_bytes else None
        except OSError as error:
            raise FileError(f"{os.fspath(path)}: cannot be read: {error.strerror}.") from None
    if content is None:
        raise FileError(f"{os.fspath(path)}: larger than {max_bytes / 1024**2:g} MiB, so not read.")
    return content


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse the JSON file at `path`.

    `NaN` and `Infinity` are accepted, since nnU-Net writes them; a byte order mark, tabs and
    CRLF are accepted too. A key that occurs twice in one object is an error: the second value
    would silently win.

    Raises
    ------
    FileError
        It is no regular file, unreadable, too large, or not JSON. The message gives line and
        column. See `parse_json`.
    """
    expect_type(path, (str, os.PathLike), "path", "the path of a file")
    path = Path(path)
    content = read_bytes(path, MAX_JSON_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not text in UTF-8 (byte {error.start}), so not JSON.") from None
    del content
    return parse_json(text, str(path))


def is_zip(path: str | os.PathLike[str]) -> bool:
    """Whether a file ends as a zip archive does; what cannot be read is none."""
    import zipfile

    try:
        return zipfile.is_zipfile(path)
    except (OSError, zipfile.BadZipFile):  # Python's own test raises it on some damaged ends
        return False


def parse_json(text: str, source: str) -> Any:
    """Parse JSON as `read_json` does; `source` names it in messages.

    All JSON that this package did not write itself just before goes through here, so that nobody
    behind it meets numbers that Python cannot print or nesting that it cannot walk through.

    Raises
    ------
    FileError
        It is not JSON, an integer has more digits than Python converts, or it has more values than
        `MAX_JSON_VALUES` or more levels than `MAX_JSON_DEPTH`.
    """
    if text.count(",") + text.count("[") + text.count("{") > MAX_JSON_VALUES:
        raise FileError(f"{source}: has more than {MAX_JSON_VALUES:,} values, so not read.")
    try:
        document = json.loads(text, object_pairs_hook=_object_without_duplicates)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise FileError(f"{source}: the file is empty.") from None
        raise FileError(
            f"{source}: not valid JSON at line {error.lineno}, column {error.colno}: "
            f"{_in_words(error)}"
        ) from None
    except _DuplicateKeyError:
        raise FileError(f"{source}: {_where_twice(text)} Remove one of them.") from None
    except ValueError:
        raise FileError(f"{source}: {_where_too_long(text)}") from None
    except RecursionError:
        document = None
        levels = MAX_JSON_DEPTH + 1
    else:
        levels = _levels(document)
    if levels > MAX_JSON_DEPTH:
        raise FileError(f"{source}: nested too deeply, more than {MAX_JSON_DEPTH} levels.")
    return document


def _in_words(error: json.JSONDecodeError) -> str:
    """What is wrong there, and the remedy for what people write who edit JSON by hand."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :]
    if not after.strip() or error.msg.startswith("Unterminated"):
        return "the file ends too early: was it truncated?"
    if after[:1] in ("}", "]") and before.endswith(","):
        return f"there is a comma before {after[0]}. Remove it."
    if after.startswith(("//", "/*", "#")):
        return "JSON has no comments. Remove this one."
    if after.startswith("'"):
        return 'a text stands in single quotes. Put it in double quotes, "...".'
    word = re.match(r"[A-Za-z]+", after)
    if word and word[0] in _PYTHON_WORDS:
        return f"{word[0]} is Python's word. Write {_PYTHON_WORDS[word[0]]}."
    if error.msg.startswith("Expecting ','"):
        return "a comma is missing between this and what stands before it."
    return f"{error.msg.removesuffix(' at')}."


_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def finite(value: Any) -> Any:
    """A document in which numbers that are not finite are None, since JSON has none of them."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def to_json_text(document: Any) -> str:
    """Format `document` as nnU-Net formats its JSON: indented by four, keys in their order."""
    return json.dumps(document, indent=4)


def write_json(path: str | os.PathLike[str], document: Any, *, follow_links: bool = False) -> None:
    """Write `document` to `path` as JSON, whole or not at all (see `replace_file`)."""
    with replace_file(path, follow_links=follow_links) as stream:
        stream.write(to_json_text(document).encode())


@contextmanager
def replace_file(path: str | os.PathLike[str], *, follow_links: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends well.

    When the block fails, or the machine does, the old file is untouched; what a killed process left
    is removed when the next one writes to the folder. Permissions of an existing
    file are kept. A symbolic link is replaced by the file, so that nothing is written where a link
    leads, which may have come with somebody else's folder; with `follow_links` the file behind it
    is replaced.

    Raises
    ------
    FileError
        The folder does not exist or is not writable, or the disk is full.
    """
    path = Path(path)
    target = path.resolve() if follow_links else path
    raw: _Output | None = None
    try:
        with unfinished_file(target.parent) as temporary:
            raw = _Output(temporary, "r+")
            with io.BufferedWriter(raw) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if target.exists() and not target.is_symlink():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            move(temporary, target)
            _sync_folder(target.parent)
    except Exception as error:
        reason = error if raw is None or raw.fault is None else raw.fault
        if not isinstance(reason, OSError):
            raise
        raise FileError(why_not_written(path, reason)) from error


class _Output(io.FileIO):
    """A file that knows why it could not be written; libraries that write to it may not say."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Write what fits."""
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise


@contextmanager
def writing(path: Path, unfinished: Path | None = None) -> Iterator[None]:
    """Raise as a FileError why the block, or a library in it, cannot write to `path`.

    Libraries in C hide the system's reason; it is found out by their `unfinished` file.

    Raises
    ------
    FileError
        The disk is full, writing is not permitted, or the system has another reason.
    """
    try:
        yield
    except OSError as error:
        raise FileError(why_not_written(path, error)) from error
    except Exception as error:
        reason = None if unfinished is None else _fault_of_disk(unfinished)
        if reason is None:
            raise
        raise FileError(why_not_written(path, reason)) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it does not exist.

    Raises
    ------
    FileError
        It cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def append(path: Path, data: bytes) -> None:
    """Write `data` at the end of a file.

    Raises
    ------
    FileError
        It cannot be written; the file is as before.
    """
    with writing(path), path.open("ab", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except BaseException:
            stream.truncate(size)
            raise
        note_change()


def move(old: Path, new: Path) -> None:
    """Rename a file or folder to `new`, where a file is replaced.

    Raises
    ------
    OSError
        It cannot be renamed; nothing has changed.
    """
    old.replace(new)
    note_change()


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `target` when the block ends well.

    Raises
    ------
    FileError
        It cannot be written; what was there before is unchanged.
    """
    with writing(target), unfinished_folder(target.parent) as folder:
        try:
            yield folder
        except FileError as error:
            raise FileError(str(error).replace(str(folder), str(target))) from error
        put_in_place(folder, target)


def put_in_place(new: Path, target: Path) -> None:
    """Rename a file or folder to `target`, which it replaces.

    A folder that is replaced is moved aside first. If the process is killed just then, the next one
    that writes to the parent folder restores it.

    Raises
    ------
    OSError
        It cannot be renamed; `target` is unchanged.
    """
    is_folder = target.is_dir() and not target.is_symlink()
    if is_folder or (new.is_dir() and os.path.lexists(target)):
        with moved_aside(target):
            move(new, target)
    else:
        move(new, target)


def why_not_written(path: Path, error: OSError) -> str:
    """A message for people: what was not written, what the system says, and what to do.

    A fault of another file, which was to be read, is told as that.
    """
    if error.errno in _FULL:
        return (
            f"{path}: not written, the disk is full ({error.strerror}). Make room there, or write "
            "to another disk. What was there before is unchanged."
        )
    if error.errno == errno.EFBIG:
        return (
            f"{path}: not written, it is larger than this process may write ({error.strerror}). "
            "Raise the limit, see `ulimit -f`. What was there before is unchanged."
        )
    if error.filename is not None and not _is_about(Path(os.fsdecode(error.filename)), path):
        return f"{path}: not written, since {error.filename} cannot be read: {error.strerror}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{path}: not written, no permission to write there ({error.strerror}). Change the "
            "folder's permissions, or write to another."
        )
    if error.errno == errno.ENOENT:
        return f"{path}: not written, the folder {path.parent} does not exist."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path}: not written, since a part of this path is a file and not a folder."
    return f"{path}: not written: {error.strerror or error}."


class _DuplicateKeyError(ValueError):
    """A JSON object names one key twice."""


def _where_too_long(text: str) -> str:
    """Which integer of a JSON text Python does not convert, in words."""
    digits = sys.get_int_max_str_digits()
    match = re.search(rf"\d{{{digits + 1},}}", text)
    line = text.count("\n", 0, match.start()) + 1 if match else "?"
    return f"the integer at line {line} has more than {digits} digits, so it is not read."


def _where_twice(text: str) -> str:
    """Which key of a JSON text occurs twice in one object, in words."""
    place: list[str] = []
    lines: list[dict[str, int]] = [{}]
    key, line, before = "", 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", before, match.start())
        before = match.start()
        if match["key"]:
            key = json.loads(match["key"])
            if key in lines[-1]:
                at = sorted({lines[-1][key], line})
                of = f" of {shown('.'.join(filter(None, place)))}" if any(place) else ""
                where = f"lines {at[0]} and {at[1]}" if len(at) > 1 else f"line {line}"
                return f"the key {shown(key)}{of} occurs twice, at {where}."
            lines[-1][key] = line
        elif match["begin"]:
            place.append(key)
            lines.append({})
            key = ""
        elif match["end"]:
            place.pop()
            lines.pop()
            key = ""
    return "a key occurs twice in one object."


_TOKEN = re.compile(
    r"""(?P<key>"(?:[^"\\]|\\.)*")(?=\s*:)|"(?:[^"\\]|\\.)*"|(?P<begin>[{\[])|(?P<end>[}\]])"""
)
"""A key, another text, or where an object or a list begins or ends."""


def _levels(document: Any) -> int:
    """How deep lists and objects are nested, counted up to one more than is allowed."""
    containers = [document] if isinstance(document, _CONTAINERS) else []
    levels = 0
    while containers and levels <= MAX_JSON_DEPTH:
        levels += 1
        containers = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, _CONTAINERS)
        ]
    return levels


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError
            seen.add(key)
    return result


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    if os.name != "posix":
        return
    with suppress(OSError):  # the file is in its place all the same
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_about(named: Path, path: Path) -> bool:
    """Whether a file is `path`, a folder that it lies in, or what is hidden beside it meanwhile."""
    for target in (path, path.resolve()):
        if target.is_relative_to(named):
            return True
        if named.is_relative_to(target.parent):
            return any(part[0] == "." for part in named.relative_to(target.parent).parts)
    return False


def _fault_of_disk(unfinished: Path) -> OSError | None:
    """What the system says when a file that a library could not finish is written on."""
    try:
        with unfinished.open("ab") as stream:
            stream.write(bytes(_PROBE))
    except OSError as error:
        return error
    return None
