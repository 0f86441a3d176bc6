"""What a GPU does with our training, for whoever has one for half an hour.

    python benchmarks/first_hour.py measure presets --output OUT   # then factors, memory, ...
    python benchmarks/first_hour.py report OUT [MORE ...]          # a page in Markdown

A command ends within eight minutes (`--minutes`), needs no network and no data but its own, and
appends each row to OUT/rows.jsonl as soon as it is measured. What OUT, or `--earlier`, already has
of this card and these versions is not measured again, so that a command may be repeated until
nothing is left. Each run has a process of its own; `first_hour_runs.py` is what it does.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from first_hour_report import report

ROOT = Path(__file__).resolve().parent.parent
RUNS = Path(__file__).with_name("first_hour_runs.py")

ROWS = "rows.jsonl"
MINUTES = 7.5
SECONDS_OF_ONE_RUN = 170
"""After which a run is given up: compiling a network takes a minute or two, measuring 20 s."""
SECONDS_TO_BEGIN = 60
"""No run begins with less time than this left."""
MEASURED_SECONDS = 20.0


@dataclass(frozen=True)
class Run:
    """One row to be: its name, and what the process is told."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def training(name: str, preset: str = "M", **options: Any) -> Run:
    return Run(name, "training", {"preset": preset, **options})


def memory(name: str, preset: str, configuration: str = "3d_fullres", **options: Any) -> Run:
    return Run(name, "memory", {"preset": preset, "configuration": configuration, **options})


PARTS: dict[str, tuple[Run, ...]] = {
    "presets": tuple(training(preset, preset) for preset in ("M", "L", "XL")),
    "factors": (
        training("default"),
        training("bf16", precision="bf16"),
        training("fp32", precision="fp32"),
        training("not compiled", compile=False),
        training("channels last", memory_format="channels_last_3d"),
        training("contiguous", memory_format="contiguous_format"),
        training("fused optimizer", fused_optimizer=True),
        *(
            training(f"{workers} workers, augmented on {place}", workers=workers, augment_on=place)
            for workers in (2, 4, 8)
            for place in ("cpu", "device")
        ),
        training("16 workers", workers=16),
    ),
    "nnunet": (Run("nnU-Net", "nnunet", {"preset": "M"}), training("ours")),
    "resume": (Run("resume", "resume", {"preset": "M"}),),
    "labels": (Run("labels", "labels", {"preset": "M"}),),
    "memory": (
        *(memory(preset, preset) for preset in ("M", "L", "XL", "default")),
        memory("M, batch 4", "M", batch_size=4),
        memory("M, batch 8", "M", batch_size=8),
        memory("L, batch 4", "L", batch_size=4),
        memory("M, 4 channels", "M", channels=4),
        memory("M, 16 heads", "M", heads=16),
        memory("M, patch 96x160x160", "M", patch_size=[96, 160, 160]),
        memory("L, patch 160x160x160", "L", patch_size=[160, 160, 160]),
        memory("M, 2d", "M", "2d"),
    ),
    "profile": (Run("profile", "profile", {"preset": "M"}),),
}
"""One factor at a time differs from the default."""

CHECKS = {
    "steps that the device decides on": "training/test_conditional_steps.py",
    "streams, copies, ranks": "training/test_on_devices.py",
    "augmentation": "training/batches/test_device_augmentation.py",
    "labels of logits": "inference/export/test_on_device.py",
}
"""Files of tests that run on a GPU where there is one."""

TEST_FOLDERS = (
    *("networks", "training", "inference", "profiling", "workflows", "runs", "preprocessing"),
    *("execution", "evaluation", "cost", "planning", "plans", "datasets", "cli", "visualization"),
)
"""What computes with tensors first."""


class Rows:
    """The rows of a folder, to which one is added as it is measured."""

    def __init__(self, folder: Path, earlier: Sequence[Path], *, toy: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.toy = folder / ROWS, toy
        self.machine = machine()
        paths = [self.path, *(path / ROWS for path in earlier)]
        self._known = [row for path in paths if path.is_file() for row in read_rows(path)]

    def has(self, part: str, run: str) -> bool:
        """Whether this row was measured on this card with this PyTorch."""
        return any(
            (row["part"], row["run"], row["toy"]) == (part, run, self.toy)
            and row["machine"] == self.machine
            and row["error"] is None
            for row in self._known
        )

    def add(
        self, part: str, run: str, *, values: dict[str, Any], error: str | None, seconds: float
    ) -> None:
        """Write a row, so that it is on the disk when this returns."""
        row = {
            "part": part,
            "run": run,
            "toy": self.toy,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "seconds": round(seconds, 1),
            "values": values,
            "error": error,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        print(f"{part}, {run}: {error or json.dumps(values)[:300]}", flush=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Whole rows; a last one that was cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def machine() -> dict[str, str | None]:
    """The card and the versions that rows are measured with."""
    code = (
        "import json, platform, torch, resenc_plans as r;"
        "from resenc_plans.execution.gpus import installed_gpus as g;"
        "c = torch.cuda.is_available(); v = torch.backends.cudnn.version();"
        "print(json.dumps({'card': torch.cuda.get_device_name(0) if c else 'CPU',"
        "'driver': g()[0].driver if g() else None, 'torch': torch.__version__,"
        "'cudnn': v and str(v), 'python': platform.python_version(),"
        "'resenc_plans': r.__version__}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return known


class Deadline:
    """The end of a command."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def seconds(self) -> float:
        """How many are left."""
        return self._end - time.monotonic()


def run_all(part: str, options: argparse.Namespace, rows: Rows, deadline: Deadline) -> None:
    """Measure what is missing of a part, as far as time goes."""
    for run in PARTS[part]:
        if (options.only and run.name not in options.only) or rows.has(part, run.name):
            continue
        if deadline.seconds < min(SECONDS_TO_BEGIN, 20 * options.minutes):
            print(f"{part}, {run.name}: no time is left; repeat the command.", flush=True)
            continue
        begun = time.monotonic()
        limit = min(SECONDS_OF_ONE_RUN, deadline.seconds)
        values, error = in_a_process(run, options, limit)
        rows.add(part, run.name, values=values, error=error, seconds=time.monotonic() - begun)


def in_a_process(
    run: Run, options: argparse.Namespace, limit: float
) -> tuple[dict[str, Any], str | None]:
    """What a run measured, or why it did not."""
    python = sys.executable
    if run.kind == "nnunet" and options.nnunet_python:
        python = str(options.nnunet_python)
    with tempfile.TemporaryDirectory(prefix="first_hour_") as name:
        folder = Path(name)
        job = {
            "kind": run.kind,
            "data": str(options.data),
            "scratch": name,
            "result": str(folder / "result.json"),
            "toy": options.toy,
            "measured_seconds": 0.5 if options.toy else MEASURED_SECONDS,
            **run.options,
        }
        environment = os.environ | {
            "nnUNet_raw": str(options.data / "raw"),
            "nnUNet_preprocessed": str(options.data / "preprocessed"),
            "nnUNet_results": str(folder / "results"),
            "TORCHINDUCTOR_CACHE_DIR": str(options.data / "compiled"),
        }
        (folder / "results").mkdir()
        with (folder / "log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(
                [python, str(RUNS), json.dumps(job)],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            end = ended_in(process, limit) or f"ended with {process.returncode}"
            log.seek(0)
            lines = log.read().strip().splitlines()
        result = folder / "result.json"
        if not result.is_file():
            return {}, f"{end}: {' / '.join(lines[-3:])}"
        document = json.loads(result.read_text(encoding="utf-8"))
        return document["values"], document["error"]


def ended_in(process: "subprocess.Popen[bytes]", limit: float) -> str | None:
    """Wait for a process; None, or that it and all its children were ended after the limit."""
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"took more than {limit:.0f} s"
    return None


def run_tests(part: str, options: argparse.Namespace, rows: Rows, deadline: Deadline) -> None:
    """The tests of a part, one row after the other."""
    if importlib.util.find_spec("pytest") is None:
        rows.add(part, "all", values={}, error="pytest is not installed", seconds=0)
        return
    selections = checks(options) if part == "checks" else suite(options)
    for name, selection in selections:
        if rows.has(part, name):
            continue
        if deadline.seconds < min(SECONDS_TO_BEGIN, 20 * options.minutes):
            print(f"{part}, {name}: no time is left; repeat the command.", flush=True)
            continue
        begun = time.monotonic()
        values, error = tests_of(selection, deadline.seconds, on_gpu=part == "checks")
        if part == "checks" and not error and not values["passed"] + values["failed"]:
            error = "PyTorch finds no GPU"
        rows.add(part, name, values=values, error=error, seconds=time.monotonic() - begun)


def checks(options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Names of the checks, and how pytest selects them: those on the GPU."""
    for name, file in CHECKS.items():
        if not options.only or name in options.only:
            yield name, [str(ROOT / "tests" / file), "-k", "cpu" if options.toy else "cuda"]


def suite(options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """The suite, folder by folder: first without the slow tests, then those."""
    choices = ("not slow and not interop", "slow and not interop")
    for markers in choices[:1] if options.toy else choices:
        for folder in options.tests or [ROOT / "tests" / name for name in TEST_FOLDERS]:
            yield f"{Path(folder).name}, {markers}", [str(folder), "-m", markers]


def tests_of(
    selection: list[str], limit: float, *, on_gpu: bool
) -> tuple[dict[str, Any], str | None]:
    """How many of the tests that pytest selects passed, or why that is not known."""
    environment = os.environ | ({"RESENC_PLANS_GPU": "1"} if on_gpu else {})
    with tempfile.TemporaryDirectory() as name:
        results = Path(name) / "results.xml"
        command = [
            *(sys.executable, "-m", "pytest", *selection, "-q"),
            *("-p", "no:cacheprovider", f"--junitxml={results}"),
        ]
        if importlib.util.find_spec("xdist") is not None and (os.cpu_count() or 1) > 4:
            command += ["--numprocesses", "8", "--dist", "loadfile"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        late = ended_in(process, limit)
        if late is not None:
            return {}, late
        if not results.is_file():
            return {}, f"pytest ended with {process.returncode}"
        return dict(count_tests(results)), None


def count_tests(results: Path) -> Iterator[tuple[str, Any]]:
    """Passed, failed and skipped tests of JUnit's XML, and the names of those that failed."""
    cases = list(ElementTree.parse(results).iter("testcase"))
    kinds = [{part.tag for part in case} & {"failure", "error", "skipped"} for case in cases]
    yield "passed", kinds.count(set())
    yield "skipped", sum("skipped" in kind for kind in kinds)
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case, kind in zip(cases, kinds, strict=True)
        if kind & {"failure", "error"}
    ]
    yield "failed", len(failed)
    yield "names", failed[:40]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="Measure parts, one after the other.")
    measure.add_argument("parts", nargs="+", choices=[*PARTS, "checks", "tests"])
    measure.add_argument("--output", type=Path, default=Path("first_hour"))
    measure.add_argument(
        "--earlier", type=Path, action="append", default=[], help="Folder of rows to leave out."
    )
    measure.add_argument("--minutes", type=float, default=MINUTES, help="Time for all parts.")
    measure.add_argument("--only", action="append", default=[], help="Name of a run.")
    measure.add_argument("--toy", action="store_true", help="Tiny networks; for a CPU.")
    measure.add_argument("--data", type=Path, help="Where the script keeps its own data.")
    measure.add_argument("--nnunet-python", type=Path, help="Python that has nnunetv2.")
    measure.add_argument(
        "--tests", type=Path, action="append", default=[], help="Folder or file of tests."
    )
    page = commands.add_parser("report", help="Print all rows as a page in Markdown.")
    page.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "report":
        rows = [row for folder in options.folders for row in read_rows(folder / ROWS)]
        print(report(rows))
    else:
        measure_parts(options)


def measure_parts(options: argparse.Namespace) -> None:
    """Make the data where there are none, then measure what is missing of each part."""
    deadline = Deadline(options.minutes)
    size = "toy" if options.toy else "full"
    options.data = options.data or Path(tempfile.gettempdir()) / f"first_hour_data_{size}"
    rows = Rows(options.output, options.earlier, toy=options.toy)
    if not set(options.parts) <= {"checks", "tests"}:
        job = {"kind": "data", "data": str(options.data), "toy": options.toy}
        subprocess.run([sys.executable, str(RUNS), json.dumps(job)], check=True)
    for part in options.parts:
        if part in ("checks", "tests"):
            run_tests(part, options, rows, deadline)
        else:
            run_all(part, options, rows, deadline)


if __name__ == "__main__":
    main()
