"""SHA-256 of files, read again only where size or time of the last change differ."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from resenc_plans.errors import FileError
from resenc_plans.files import open_regular, read_json, write_json


class FileDigest(BaseModel):
    """A file's contents, and how to see that it has not changed since."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    sha256: str
    """Of all bytes."""
    size: int
    """In bytes."""
    changed: int
    """When the file was last changed, in ns since 1970."""

    @classmethod
    def of(cls, path: Path) -> "FileDigest":
        """The digest of a file.

        Raises
        ------
        FileError
            It cannot be read.
        """
        status = path.stat() if path.is_file() else None
        digest = sha256_of(path)
        assert status is not None, "it could be read"
        return cls(sha256=digest, size=status.st_size, changed=status.st_mtime_ns)

    def is_of(self, path: Path) -> bool:
        """Whether a file exists and has these contents."""
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.changed or sha256_of(path) == self.sha256


class DigestCache:
    """Digests of files, kept in a JSON file by the paths of the files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._is_changed = False

    def sha256(self, file: Path) -> str:
        """The digest of a file, read only if it is not known.

        Raises
        ------
        FileError
            It cannot be read.
        """
        key, known = str(file), self._known.get(str(file))
        status = file.stat() if file.is_file() else None
        seen = None if status is None else (status.st_size, status.st_mtime_ns)
        if known is not None and seen == (known.size, known.changed):
            return known.sha256
        self._known[key] = FileDigest.of(file)
        self._is_changed = True
        return self._known[key].sha256

    def save(self) -> None:
        """Write the digests that are new.

        Raises
        ------
        FileError
            They cannot be written.
        """
        if self._is_changed:
            write_json(self._path, {key: one.model_dump() for key, one in self._known.items()})
            self._is_changed = False


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal.

    Raises
    ------
    FileError
        It cannot be read.
    """
    with open_regular(path) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}.") from None


def digest_of(value: Any) -> str:
    """The digest of a JSON value, whatever the order of its keys."""
    import json

    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def combined(digests: Mapping[str, str] | Iterable[str]) -> str:
    """One digest of several."""
    return digest_of(dict(digests) if isinstance(digests, Mapping) else list(digests))


def _load(path: Path) -> dict[str, FileDigest]:
    """What is known; nothing where the file is missing or damaged, since it can be made again."""
    try:
        return TypeAdapter(dict[str, FileDigest]).validate_python(read_json(path))
    except (FileError, ValidationError):
        return {}
