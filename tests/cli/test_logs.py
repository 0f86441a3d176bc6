"""What the library logs, as the command line shows and keeps it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resenc_plans.cli.logs import configure_logging
from resenc_plans.errors import FileError
from tests.cli.conftest import Done

logger = logging.getLogger("resenc_plans.somewhere")


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    library = logging.getLogger("resenc_plans")
    for handler in list(library.handlers):
        library.removeHandler(handler)
        handler.close()
    library.setLevel(logging.NOTSET)


def log_all() -> None:
    logger.warning("The memory of %s does not suffice.", "cuda")
    try:
        raise ValueError("oh")
    except ValueError:
        logger.debug("Case one failed", exc_info=True)


def test_warnings_are_shown_and_details_only_where_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging()
    log_all()
    assert capsys.readouterr().err == "The memory of cuda does not suffice.\n"
    configure_logging(verbose=True)
    log_all()
    shown = capsys.readouterr().err
    assert "Case one failed" in shown
    assert "ValueError: oh" in shown


def test_a_log_file_keeps_everything_and_is_appended_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("before\n")
    configure_logging(log_file=path)
    log_all()
    assert "Case one" not in capsys.readouterr().err
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].endswith("WARNING resenc_plans.somewhere: The memory of cuda does not suffice.")
    assert lines[2].endswith("DEBUG resenc_plans.somewhere: Case one failed")
    assert lines[-1] == "ValueError: oh"
    with pytest.raises(FileError, match="cannot be written"):
        configure_logging(log_file=tmp_path)


def test_a_failed_case_leaves_its_traceback_in_the_log(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    from tests.inference.models import write_model

    images = tmp_path / "images"
    images.mkdir()
    (images / "broken_0000.nii.gz").write_bytes(b"nothing")
    model = write_model(tmp_path / "model", dim=2)
    log = tmp_path / "log.txt"
    done = run("--log-file", log, "predict", "-i", images, "-o", tmp_path / "out", "-m", model)
    assert done.code == 1
    text = log.read_text()
    assert "Case broken failed" in text
    assert "Traceback (most recent call last)" in text


def test_options_before_the_command_leave_its_messages_as_they_are(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    done = run("--log-file", tmp_path / "log.txt", "show", "-p", tmp_path / "none.json")
    assert done.code == 2
    assert "no such file" in done.err
    assert "The command failed." in (tmp_path / "log.txt").read_text()
