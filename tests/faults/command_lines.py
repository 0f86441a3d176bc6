"""Command lines: options and arguments damaged, on files of which one may be damaged too."""

import contextlib
import io
import logging
import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random

from resenc_plans.execution.exit_codes import ExitCode
from tests.cli.scenes import CASES, DATA, MODEL, PLANS, SCENES
from tests.faults.damage import NAMES
from tests.faults.damaged_files import damage_file
from tests.faults.kinds import Calls, FailedError, Kind, RefusedError

OPTIONS = Path(__file__).parent.parent / "cli" / "options.txt"

_LEFT_OUT = (
    "--dask",
    "--measure",
    "--preprocess",
    "--install-completion",
    "--show-completion",
    "--verbose",
)
"""Options that reach for other machines, take long by design, or change the shell."""
_SLOW = ("doctor", "preprocess")
"""Commands that are chosen less often."""


def _leads_out(name: str) -> bool:
    return name.startswith(("..", "/"))


_VALUES = (
    *("0", "1", "-1", "3", "2.5", "1e999", "nan", "99999999999999999999", "100000", "80GB"),
    *("2d", "3d_fullres", "tiny", "M", "default", "all", "cpu", "cuda:7", "json", "sarif", "fp16"),
    *(
        DATA,
        PLANS,
        MODEL,
        "old.json",
        "family.json",
        "segmented",
        "one",
        "model.zip",
        "settings.json",
    ),
    *(
        "1,1,1",
        "1x1x1",
        "32x32x32",
        "a=b",
        "batch_size=0",
        "architecture.arch_kwargs.n_stages=9" * 2,
    ),
    *(
        "patch_size=[1,1,1]",
        f"x={'9' * 5000}",
        "/dev/null",
        "missing",
    ),
    *(name for name in NAMES if not _leads_out(name)),
)
_OUTSIDE = ("/dev/zero", "/proc/self/mem", *filter(_leads_out, NAMES))
_OUTPUTS = ("-o", "--output", "-op", "--overlay", "--plot", "--report")
"""Options whose value is written to, wherever it is: who types it may choose any place."""
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
_FILES = (
    *(PLANS, "old.json", f"{DATA}/dataset.json", f"{DATA}/dataset_fingerprint.json"),
    *("settings.json", "segmented/dataset.json", f"{MODEL}/plans.json", f"{MODEL}/dataset.json"),
    *(f"{DATA}/imagesTr/{CASES[0]}_0000.nii.gz", f"images/{CASES[1]}_0000.nii.gz", "model.zip"),
    *(f"segmented/{CASES[0]}.nii.gz", f"reference/{CASES[1]}.nii.gz", "one/one.npz", "one/one.pkl"),
    f"{MODEL}/fold_0/checkpoint_final.pth",
)
_SECONDS = 60


@cache
def _options() -> dict[str, list[tuple[str, bool]]]:
    """The options of each command, and whether they take a value."""
    options: dict[str, list[tuple[str, bool]]] = {}
    for line in OPTIONS.read_text().splitlines():
        words, _, kind = line.partition(": ")
        command, *names = words.split()
        flags = [name for name in names if name.startswith("-") and name not in _LEFT_OUT]
        options.setdefault(command, []).extend((name, kind.startswith("value")) for name in flags)
    return options


def command_line(random: Random) -> list[str]:
    """A command and its arguments; what trains runs dry."""
    names = [name for name in SCENES if name not in _SLOW or random.random() < 0.2]
    name = random.choice(names)
    arguments = shlex.split(SCENES[name].arguments)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        place = random.randint(0, len(arguments))
        options = _options().get(name, [])
        match random.randrange(5):
            case 0 if arguments:
                del arguments[place - 1]
            case 1 if arguments:
                arguments[place - 1] = random.choice(_VALUES)
            case 2:
                arguments.insert(place, random.choice(_VALUES))
            case _ if options:
                option, takes_value = random.choice(options)
                values = _VALUES if option in _OUTPUTS else (*_VALUES, *_OUTSIDE)
                arguments += [option, random.choice(values)] if takes_value else [option]
    return [name, *arguments, *(["--dry-run"] if name == "train" else [])]


def _damage(random: Random, content: bytes) -> bytes:
    return content if random.random() < 0.3 else damage_file(random, content)


def _in_process(root: Path, path: Path, random: Random) -> Calls:
    arguments = command_line(random)
    yield lambda: _judge(arguments, *_run(arguments))


def _as_process(root: Path, path: Path, random: Random) -> Calls:
    arguments = [
        argument for argument in command_line(random) if not set("\0\ud800") & set(argument)
    ]
    yield lambda: _judge(arguments, *_start(arguments))


def _run(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of a command that runs in this process."""
    from resenc_plans.cli.app import main

    sys.argv = ["resenc-plans", *arguments]
    output, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        library = logging.getLogger("resenc_plans")
        for handler in list(library.handlers):
            library.removeHandler(handler)
            handler.close()
    return code, output.getvalue()


def _start(arguments: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "resenc_plans", *arguments],
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def _judge(arguments: list[str], code: int, output: str) -> None:
    """Raise what the exit code says; a fault where it is none that is documented."""
    said = f"{shlex.join(arguments)}: exit code {code}: {output[-600:]}"
    if code not in set(ExitCode) or code == ExitCode.FAULT or "Traceback (most recent" in output:
        raise RuntimeError(said)
    if code == ExitCode.NOTHING_DONE:
        raise RefusedError(output[-20_000:])
    if code != ExitCode.DONE:
        raise FailedError(output[-20_000:])


COMMAND_LINES: dict[str, Kind] = {
    "command lines": Kind(_FILES, _in_process, _damage, weight=9, writes=True, starts=True),
    "processes": Kind(_FILES, _as_process, _damage, writes=True, starts=True),
}
"""By name."""
