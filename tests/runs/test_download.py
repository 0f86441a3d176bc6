"""Archives of models from a server on this machine."""

import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from urllib.request import Request

import pytest

from resenc_plans.errors import FileError, ModelError
from resenc_plans.runs.archive import export_model
from resenc_plans.runs.download import _WebOnly, download_model
from tests.inference.models import write_model

MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("exported")
    model = write_model(folder / "Dataset004_Small" / MODEL)
    export_model([model], folder / "model.zip")
    return (folder / "model.zip").read_bytes()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve bytes once or more; the URL."""
    servers = []

    def start(
        content: bytes, code: int = 200, claimed: int | None = None, location: str = ""
    ) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(claimed or len(content)))
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/model.zip?token=secret"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_model_is_installed_from_a_url_and_from_a_file(
    archive: bytes, serve: Callable[..., str], tmp_path: Path
) -> None:
    digest = hashlib.sha256(archive).hexdigest()
    seen: list[tuple[int, int | None]] = []
    url = serve(archive)
    installed = download_model(
        url, tmp_path, sha256=digest.upper(), on_bytes=lambda *bytes_: seen.append(bytes_)
    )
    assert installed.models == (tmp_path / "Dataset004_Small" / MODEL,)
    assert installed.sha256 == digest
    assert seen[-1] == (len(archive), len(archive))
    with pytest.raises(ModelError, match="already exists"):
        download_model(url, tmp_path)
    (tmp_path / "model.zip").write_bytes(archive)
    assert download_model(tmp_path / "model.zip", tmp_path, overwrite=True).sha256 == digest
    assert not list(tmp_path.glob(".*"))


def test_what_is_not_the_archive_is_refused_and_leaves_nothing(
    archive: bytes, serve: Callable[..., str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as target:
        target.writestr("../escaped", b"")
    refused: list[tuple[str, dict[str, object], str]] = [
        (serve(archive), {"sha256": "0" * 64}, "its SHA-256 is"),
        (serve(archive), {"sha256": "abc"}, "64 hexadecimal digits"),
        (serve(archive), {"max_bytes": 100}, "refused"),
        (serve(archive, code=404), {}, "answers 404"),
        (serve(archive[:-9], claimed=len(archive)), {}, "arrived|not downloaded"),
        (serve(b"no archive"), {}, r"127\.0\.0\.1:\d+/model\.zip: damaged, or not a zip"),
        (serve(evil.read_bytes()), {}, r"127\.0\.0\.1:\d+/model\.zip: refused"),
        ("ftp://example.org/model.zip", {}, "https:// or http:// only"),
        ("file:///etc/passwd", {}, "https:// or http:// only"),
        ("http://127.0.0.1:9/model.zip", {}, "not downloaded"),
    ]
    for url, options, words in refused:
        with pytest.raises(ModelError, match=words) as caught:
            download_model(url, results, **options)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
    with pytest.raises(FileError, match="no such file"):
        download_model(tmp_path / "missing.zip", results)
    assert not list(results.iterdir())


SECRET_URLS = [
    "https://[bad/secret.zip",
    "https://me:secret@localhost/model.zip",
    "https://localhost:secret/model.zip",
    "https://localhost/a model.zip?token=secret",
    "ftp://me:secret@localhost/model.zip",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_url_that_is_refused_keeps_its_secrets(url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        download_model(url, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", ["ftp://me:secret@127.0.0.1:9/x.zip", "http://[bad/secret"])
def test_a_redirect_leads_to_the_web_only(
    target: str, serve: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="https://") as caught:
        download_model(serve(b"", code=302, location=target), tmp_path)
    assert "secret" not in str(caught.value)


def test_a_redirect_does_not_leave_https() -> None:
    request = Request("https://example.org/model.zip")
    with pytest.raises(ModelError, match="no longer be encrypted"):
        _WebOnly().redirect_request(
            request, BytesIO(), 302, "", HTTPMessage(), "http://example.org/model.zip"
        )
