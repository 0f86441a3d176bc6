"""Run a study from its file to a report again and again: disturbed, on Dask, by SLURM's script.

    python -m tests.faults.studies FOLDER [--dataset DATASET] [--kills N] [--only NAME ...]

The study has three methods (ResEnc M and the original nnU-Net, both with small networks, and a
baseline), two folds and two seeds. It is run undisturbed; killed by SIGKILL at moments spread over
its course, and run again each time; with one run that must fail; on a Dask cluster of two workers,
interrupted once, and then with one of them killed; and by its SLURM script, with stand-ins for
sbatch and scontrol. All that methods are judged by has to equal the undisturbed study's. What a
study takes, in hours, does not. Each scenario prints a line. Linux only.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resenc_plans import Dataset
from resenc_plans.datasets.splits import make_splits

RUN = (sys.executable, "-m", "resenc_plans", "study")
STEPS = {
    "epochs": 2, "iterations": 4, "validation_iterations": 1, "workers": 0, "precision": "fp32",
}  # fmt: skip
FEATURES = [4, 8, 16, 16]
SECONDS_TO_END = 30
"""That a job may take to end after its study was killed; one that has just begun has to load."""
HELD_OUT = 10
"""Cases of a fold that are predicted."""
SMALL = {"features_per_stage": FEATURES}


def document(dataset: str, seeds: list[int]) -> dict[str, Any]:
    """The study's file."""
    shared = {"batch_size": 2}
    return {
        "name": "Small networks on the hippocampus",
        "datasets": [{"dataset": dataset, "splits": "splits.json"}],
        "methods": {
            "ResEnc M": {
                "preset": "M",
                "changes": shared
                | {"architecture": {"arch_kwargs": SMALL | {"n_blocks_per_stage": [1, 1, 1, 1]}}},
            },
            "original": {
                "preset": "default",
                "changes": shared | {"architecture": {"arch_kwargs": SMALL}},
            },
            "U-Mamba without Mamba": {
                "baseline": "no-mamba-base",
                "changes": shared | {"architecture": {"arch_kwargs": SMALL}},
            },
        },
        "folds": [0, 1],
        "seeds": seeds,
        "training": STEPS,
        "bootstrap": {"draws": 2000},
        "margin": 0.01,
    }


def write_study(folder: Path, dataset: str, seeds: list[int]) -> Path:
    """Make a folder with a study.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.json"
    path.write_text(json.dumps(document(dataset, seeds), indent=4))
    names = sorted(case.name for case in Dataset.load(dataset).cases)
    splits = [
        {"train": list(split.train), "val": list(split.val[:HELD_OUT])}
        for split in make_splits(names)
    ]
    (folder / "splits.json").write_text(json.dumps(splits))
    return path


def judged(folder: Path) -> dict[str, Any]:
    """All of a report that methods are judged by, without what trainings took."""
    report = folder / "report"
    results = json.loads((report / "results.json").read_text())
    for dataset in results["datasets"]:
        del dataset["budgets"]
        dataset["findings"] = [one for one in dataset["findings"] if one["rule"] != "C105"]
    return {
        "results": results,
        "cases": (report / "cases.csv").read_text(),
        "discrimination": (report / "discrimination.json").read_text(),
    }


def study_run(study: Path, *options: str) -> "subprocess.Popen[str]":
    """Start `study run` on the CPU."""
    return subprocess.Popen(
        [*RUN, "run", str(study), "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """Where this program runs in the background, a shell has it and its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a command: its exit code and what it printed."""
    output, _ = process.communicate()
    return process.returncode, output


def undisturbed(folder: Path, dataset: str) -> str:
    """From the file to a report by one command."""
    begun = time.monotonic()
    code, output = finished(study_run(write_study(folder, dataset, [0, 1])))
    assert code == 0, output
    seconds = json.loads((folder / "report" / "costs.json").read_text())
    longest = max(one["hours"] * 3600 for one in seconds)
    return f"{time.monotonic() - begun:.0f} s; the longest mean training took {longest:.1f} s"


def killed(folder: Path, dataset: str, reference: Path, kills: int) -> str:
    """Killed again and again, each time later, then left to end."""
    study = write_study(folder, dataset, [0, 1])
    random.seed(0)
    logs: list[str] = []
    for number in range(kills):
        process = study_run(study)
        target = (number + 1) / (kills + 1)
        while process.poll() is None and done_share(folder) < target:
            time.sleep(0.2)
        time.sleep(random.uniform(0, 6))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        finished(process)
        logs.append(f"at {done_share(folder):.0%}")
        assert not left_over(study), "a job goes on after its study was killed"
    code, output = finished(study_run(study))
    assert code == 0, output
    assert judged(folder) == judged(reference)
    return f"killed {', '.join(logs)}; the report equals the undisturbed one's"


def done_share(folder: Path) -> float:
    """The share of the 12 runs that are trained, predicted and evaluated."""
    done = 0
    for path in folder.glob("state/*/*/seed_*/fold_*/evaluation.json"):
        with contextlib.suppress(ValueError, OSError):
            done += json.loads(path.read_text())["status"] == "done"
    return done / 12


def left_over(study: Path) -> list[int]:
    """Processes that name the study and have not ended after `SECONDS_TO_END`."""
    end = time.monotonic() + SECONDS_TO_END
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{study}\0" in path.read_bytes().decode(errors="replace"):
                    found.append(int(path.parent.name))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.5)


def copied(reference: Path, folder: Path, seeds: list[int]) -> Path:
    """A study whose dataset is prepared, with other seeds."""
    shutil.copytree(reference, folder, ignore=shutil.ignore_patterns("runs", "report", "seed_*"))
    path = folder / "study.json"
    text = json.loads(path.read_text()) | {"seeds": seeds}
    path.write_text(json.dumps(text, indent=4))
    return path


def one_fails(folder: Path, reference: Path) -> str:
    """One run cannot write its folder; all others are done, and the rerun does that one."""
    study = copied(reference, folder, [0, 1])
    dataset = next((folder / "preprocessed").iterdir()).name
    block = folder / "runs" / dataset / "original" / "seed_1"
    block.mkdir(parents=True)
    (block / "fold_1").write_text("a file where a folder is needed")
    code, output = finished(study_run(study))
    assert code == 1, output
    assert "training of" in output, output
    assert round(done_share(folder) * 12) == 11, output
    assert (folder / "report" / "report.html").is_file()
    said = next(line for line in output.splitlines() if line.startswith("training of "))
    (block / "fold_1").unlink()
    code, output = finished(study_run(study))
    assert code == 0, output
    assert judged(folder) == judged(reference)
    return f"11 of 12 were done ({said[:160]}); then the last, and the report is equal"


def on_dask(folder: Path, reference: Path) -> str:
    """Two local workers; Ctrl-C in the middle, then a worker is killed in a training."""
    import distributed

    study = copied(reference, folder, [0, 1])
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        process = study_run(study, "--dask", cluster.scheduler_address)
        wait_for_training(process, study)
        process.send_signal(signal.SIGINT)
        stopped, output = finished(process)
        assert "asked to stop" in output, output
        assert not running_jobs(study), "a job goes on after its run was interrupted"
        records = recorded(folder)
        time.sleep(10)
        assert recorded(folder) == records, "a job was recorded after its run was interrupted"
        share = done_share(folder)
        process = study_run(study, "--dask", cluster.scheduler_address)
        wait_for_training(process, study)
        victim = next(iter(cluster.workers.values())).process.pid
        os.kill(victim, signal.SIGKILL)
        code, output = finished(process)
    assert code == 0, output
    assert judged(folder) == judged(reference)
    return (
        f"interrupted at {share:.0%} with exit code {stopped}, which ended all jobs; run again, a "
        "worker was killed; its job was done by another, and the report is equal"
    )


def wait_for_training(process: "subprocess.Popen[str]", study: Path) -> None:
    """Until some seconds after a job runs whose training has begun and is not done."""
    while process.poll() is None:
        records = recorded(study.parent).items()
        begun = [text for path, text in records if path.name == "training.json"]
        if running_jobs(study) and any('"begun"' in text for text in begun):
            break
        time.sleep(0.2)
    time.sleep(3)


def recorded(folder: Path) -> dict[Path, str]:
    """What the records of runs say."""
    return {path: path.read_text() for path in folder.glob("state/*/*/seed_*/fold_*/*.json")}


def running_jobs(study: Path) -> list[int]:
    """Processes that do a job of the study."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"\0job\0{study}\0" in _text(path)
    ]


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes().decode(errors="replace")
    return ""


SBATCH = r"""#!/bin/bash
# A stand-in for sbatch: runs what is submitted at once, one task after the other, and each task
# again as long as it was requeued. The first task of the second array is preempted once.
array=""; wrap=""; script=""
for word in "$@"; do
    case $word in --wrap=*) wrap=${word#--wrap=} ;; -*) ;; *) script=$word ;; esac
done
count=$(($(cat "$STAND_IN/count" 2> /dev/null || echo 0) + 1)); echo $count > "$STAND_IN/count"
echo "$count"
exec 1>> "$STAND_IN/log" 2>&1
if [ -n "$wrap" ]; then exec bash -c "$wrap"; fi
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
for task in $(seq 0 "$last"); do
    export SLURM_ARRAY_JOB_ID=$count SLURM_ARRAY_TASK_ID=$task
    while true; do
        rm -f "$STAND_IN/requeue"
        bash "$script" & pid=$!
        if [ "$count" = 2 ] && [ "$task" = 0 ] && [ ! -e "$STAND_IN/preempted" ]; then
            touch "$STAND_IN/preempted"
            while ! grep -q '"epoch": 0' "$STAND_IN"/../runs/*/*/seed_*/fold_*/metrics.jsonl; do
                sleep 0.1
                kill -0 $pid 2> /dev/null || break
            done
            kill -USR1 $pid
        fi
        wait $pid
        echo "task $count $task: $?"
        [ -e "$STAND_IN/requeue" ] || break
    done
done
"""
SCONTROL = """#!/bin/bash
# A stand-in for scontrol requeue.
echo "scontrol $*" >> "$STAND_IN/log"
touch "$STAND_IN/requeue"
"""


def by_slurm(folder: Path, reference: Path) -> str:
    """The array scripts under bash, with a task that is preempted and requeued."""
    study = copied(reference, folder, [0, 1])
    text = json.loads(study.read_text())
    study.write_text(json.dumps(text, indent=4))
    stand_in = folder / "stand_in"
    stand_in.mkdir()
    for name, script in (("sbatch", SBATCH), ("scontrol", SCONTROL)):
        (stand_in / name).write_text(script)
        (stand_in / name).chmod(0o755)
    done = subprocess.run(
        [*RUN, "run", str(study), "--device", "cpu", "--slurm", "--sbatch=--gres=gpu:1"],
        capture_output=True,
        text=True,
        check=True,
    )
    environment = os.environ | {
        "PATH": f"{stand_in}{os.pathsep}{os.environ['PATH']}",
        "STAND_IN": str(stand_in),
    }
    subprocess.run(
        ["bash", str(folder / "slurm" / "submit.sh")], env=environment, check=True, timeout=3600
    )
    log = (stand_in / "log").read_text()
    assert "scontrol requeue 2_0" in log, done.stdout + log
    assert "task 2 0: 75" in log, log
    assert judged(folder) == judged(reference), log
    return "a task was stopped (exit code 75), requeued and resumed, and the report is equal"


def verified(folder: Path, reference: Path, dataset: str) -> str:
    """`study verify` of an untouched study, then with an input, a report, a version changed."""
    raw = folder / Path(dataset).name
    shutil.copytree(dataset, raw)
    study = write_study(folder / "study", str(raw), [0, 1])
    for name in ("preprocessed", "runs", "state", "report"):
        shutil.copytree(reference / name, study.parent / name)
    finished(subprocess.Popen([*RUN, "report", str(study)], stdout=subprocess.PIPE, text=True))

    def verify() -> tuple[int, str]:
        process = subprocess.Popen(
            [*RUN, "verify", str(study)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return finished(process)

    code, output = verify()
    assert code == 0, output
    lines = [output.strip().splitlines()[-1]]
    changes: list[tuple[Path, Callable[[str], str]]] = [
        (study.parent / "report" / "table.tex", lambda text: text.replace("0.", "1.", 1) + "%"),
        (study.parent / "report" / "provenance.json",
         lambda text: text.replace('"torch": "', '"torch": "1.', 1)),
    ]  # fmt: skip
    for path, change in changes:
        before = path.read_text()
        path.write_text(change(before))
        code, output = verify()
        assert code == 1, output
        lines.append(output.strip())
        path.write_text(before)
    image = sorted((raw / "imagesTr").iterdir())[0]
    with image.open("ab") as stream:
        stream.write(b"\0")
    code, output = verify()
    assert code == 1, output
    lines.append(output.strip().splitlines()[0])
    return "\n    ".join(lines)


def scenarios(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], str]]]:
    """By name, what is done."""
    root, dataset = arguments.folder.absolute(), str(Path(arguments.dataset).absolute())
    reference = root / "undisturbed"
    yield "undisturbed", lambda: undisturbed(reference, dataset)
    yield "killed", lambda: killed(root / "killed", dataset, reference, arguments.kills)
    yield "one_fails", lambda: one_fails(root / "one_fails", reference)
    yield "dask", lambda: on_dask(root / "dask", reference)
    yield "slurm", lambda: by_slurm(root / "slurm", reference)
    yield "verify", lambda: verified(root / "verify", reference, dataset)


def main() -> None:
    """Run the scenarios that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", default="../shared/data/Dataset004_Hippocampus")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=())
    arguments = parser.parse_args()
    for name, scenario in scenarios(arguments):
        if arguments.only and name not in arguments.only:
            continue
        begun = time.monotonic()
        result = scenario()
        print(f"{name} ({time.monotonic() - begun:.0f} s): {result}", flush=True)


if __name__ == "__main__":
    main()
