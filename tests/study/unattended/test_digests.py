"""SHA-256 of files, read again only where they have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from resenc_plans.errors import FileError
from resenc_plans.study.unattended.digests import DigestCache, FileDigest, digest_of


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path: Path) -> None:
    file, store = tmp_path / "image", tmp_path / "known.json"
    file.write_bytes(b"abc")
    cache = DigestCache(store)
    assert cache.sha256(file) == hashlib.sha256(b"abc").hexdigest()
    cache.save()
    status = file.stat()
    file.write_bytes(b"xyz")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert DigestCache(store).sha256(file) == hashlib.sha256(b"abc").hexdigest(), "not read"
    os.utime(file, ns=(1, 1))
    assert DigestCache(store).sha256(file) == hashlib.sha256(b"xyz").hexdigest()


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    file, store = tmp_path / "image", tmp_path / "known.json"
    file.write_bytes(b"abc")
    store.write_text('{"x": 1}')
    assert DigestCache(store).sha256(file) == FileDigest.of(file).sha256


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent: no such file"):
        DigestCache(tmp_path / "known.json").sha256(tmp_path / "absent")


def test_the_order_of_keys_does_not_matter() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
