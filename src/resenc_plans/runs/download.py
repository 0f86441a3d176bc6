"""Archives of models from the web, installed as those from a disk are: see `archive`."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, InvalidURL
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from resenc_plans.errors import ModelError
from resenc_plans.execution.unfinished import unfinished_file
from resenc_plans.files import open_regular, writing
from resenc_plans.runs.archive import MAX_BYTES, import_model

SECONDS = 60
"""How long a server may be silent."""

_PIECE = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WEB = ("http", "https")
_ONLY_WEB = "models are downloaded from https:// or http:// only"
_NO_URL = (
    "Not downloaded: the URL, or one that the server leads to, has a host, a port or characters "
    "that no URL may have. Write it as https://example.org/model.zip, blanks as %20."
)
"""Without the URL, of which any part may be a secret where it is damaged."""

OnBytes = Callable[[int, int | None], object]
"""Called with the bytes that have arrived, and with all bytes where the server tells."""


@dataclass(frozen=True)
class InstalledModels:
    """The folders of installed models, and the SHA-256 of their archive."""

    models: tuple[Path, ...]
    sha256: str


def download_model(
    source: str | os.PathLike[str],
    results: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    overwrite: bool = False,
    max_bytes: int = MAX_BYTES,
    on_bytes: OnBytes | None = None,
) -> InstalledModels:
    """Install the models of an archive from a URL or a file, checked as by `import_model`.

    Parameters
    ----------
    source
        A URL that begins with https:// or http://, or the path of an archive.
    results
        The results folder.
    sha256
        The SHA-256 that the archive must have, in hexadecimal digits; it is compared before
        anything is unpacked.
    overwrite
        Whether files of installed models of the same names are replaced.
    max_bytes
        The most that is downloaded, and the most that the archive unpacks to.
    on_bytes
        Shows how far the download is.

    Raises
    ------
    ModelError
        The URL is damaged or has a password in it; the archive cannot be downloaded, has another
        SHA-256, or is refused.
    FileError
        The results folder cannot be written to, or the file cannot be read.
    """
    text, results = os.fspath(source), Path(results)
    expected = None if sha256 is None else sha256.strip().lower()
    if expected is not None and not _SHA256.fullmatch(expected):
        raise ModelError(
            f"`sha256=` {sha256!r}: 64 hexadecimal digits are needed, as sha256sum prints them."
        )
    if not results.is_dir():
        raise ModelError(f"{results}: no such folder; it is where the models would be installed.")
    if not _is_url(text):
        digest = _sha256(Path(text))
        _compare(text, digest, expected)
        models = import_model(text, results, overwrite=overwrite, max_bytes=max_bytes)
        return InstalledModels(models, digest)
    url = shown_url(text)
    with writing(results), unfinished_file(results) as archive:
        digest = _download(text, archive, max_bytes, on_bytes or (lambda *_: None))
        _compare(url, digest, expected)
        try:
            models = import_model(archive, results, overwrite=overwrite, max_bytes=max_bytes)
        except ModelError as error:
            raise ModelError(str(error).replace(os.fspath(archive), url)) from None
    return InstalledModels(models, digest)


def shown_url(url: str) -> str:
    """A URL without the password and the query that may be secrets.

    >>> shown_url("https://me:secret@example.org/model.zip?token=1")
    'https://example.org/model.zip'

    Raises
    ------
    ModelError
        It is no URL.
    """
    parts = _split(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_url(source: str) -> bool:
    """Whether a source is a URL that may be downloaded; False for the path of a file."""
    if "://" not in source:
        return False
    parts = _split(source)
    if not parts.scheme:
        return False
    if parts.scheme not in _WEB:
        raise ModelError(f"{shown_url(source)}: {_ONLY_WEB}.")
    if "@" in parts.netloc:
        raise ModelError(
            f"{shown_url(source)}: the URL has a user or a password before the host, which is not "
            "sent. Download the archive by another program, and give its path."
        )
    return True


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ModelError(_NO_URL) from None


class _WebOnly(HTTPRedirectHandler):
    """Follows no redirect to what may be neither named as a source, nor read on the way."""

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        """The answer of the address that a redirect leads to; None where it names none."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The request that follows a redirect."""
        scheme = _split(newurl).scheme
        if scheme not in _WEB or (req.type == "https" and scheme == "http"):
            why = _ONLY_WEB if scheme not in _WEB else "the way would no longer be encrypted"
            raise ModelError(
                f"{shown_url(req.full_url)}: not downloaded, the server leads to "
                f"{shown_url(newurl)}: {why}."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, target: Path, max_bytes: int, on_bytes: OnBytes) -> str:
    """Write what a URL holds to a file; returns its SHA-256."""
    digest, received, name = hashlib.sha256(), 0, shown_url(url)
    try:
        request = Request(url, headers={"User-Agent": "resenc-plans"})
        with _OPENER.open(request, timeout=SECONDS) as answer, target.open("wb") as stream:
            total = _length(answer.headers.get("Content-Length"))
            while piece := answer.read(_PIECE):
                received += len(piece)
                if received > max_bytes:
                    raise ModelError(
                        f"{name}: refused, it has more than {max_bytes / 1024**3:,.1f} GiB. Raise "
                        "the limit if you trust it."
                    )
                digest.update(piece)
                stream.write(piece)
                on_bytes(received, total)
    except HTTPError as error:
        raise ModelError(f"{name}: not downloaded, the server answers {error.code}.") from None
    except (InvalidURL, ValueError):
        raise ModelError(_NO_URL) from None
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ModelError(f"{name}: not downloaded: {reason}. Try again later.") from None
    if total is not None and received < total:
        raise ModelError(
            f"{name}: not downloaded, only {received:,} of {total:,} bytes arrived. Try again."
        )
    return digest.hexdigest()


_OPENER = build_opener(_WebOnly)


def _length(header: str | None) -> int | None:
    return int(header) if header is not None and header.isdecimal() else None


def _sha256(path: Path) -> str:
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _compare(name: str, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise ModelError(
            f"{name}: refused, its SHA-256 is {digest}, not {expected}. It was changed, or the "
            "download is damaged."
        )
