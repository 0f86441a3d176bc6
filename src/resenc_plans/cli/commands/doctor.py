"""The command doctor: what this machine offers to a training, and what would hinder it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from resenc_plans.cli.options import Format, FormatOption
from resenc_plans.cli.render import SEVERITY_STYLES, print_json, print_table, say, styled
from resenc_plans.execution.exit_codes import ExitCode

if TYPE_CHECKING:
    from resenc_plans.profiling.doctor import MachineReport

_UNKNOWN = "not known"
_SCANS = {
    "torch": "plain PyTorch, since mamba_ssm cannot be imported",
    "mamba_ssm": "mamba_ssm's kernel on a GPU, plain PyTorch on CPUs",
}


def doctor(format: FormatOption = Format.TABLE) -> None:
    """Say what this machine offers: GPUs, memory, disks, versions, and what is wrong with them.

    Exit code 1 if something cannot work; a machine without a GPU is no error. Example:
    resenc-plans doctor
    """
    from resenc_plans.profiling.doctor import examine_machine

    report = examine_machine()
    if format is Format.JSON:
        print_json(_as_json(report))
    else:
        print_table(["what", "value"], _rows(report), fixed=1)
        if report.findings:
            print_table(
                ["severity", "check", "what"],
                [
                    [styled(f.severity, SEVERITY_STYLES[f.severity]), f.rule, f.message]
                    for f in report.findings
                ],
                fixed=2,
            )
        else:
            say("No findings.")
    if report.has_errors:
        raise typer.Exit(ExitCode.FAILED)


def _as_json(report: "MachineReport") -> dict[str, object]:
    findings = [
        {"severity": finding.severity, "id": finding.rule, "message": finding.message}
        for finding in report.findings
    ]
    return asdict(report) | {"findings": findings}


def _rows(report: "MachineReport") -> Iterator[list[str]]:
    torch, convolution, memory = report.torch, report.convolution, report.free_memory_bytes
    yield ["system", report.system]
    yield ["python", report.python]
    if torch is not None:
        yield ["CUDA of PyTorch", torch.cuda or "none"]
        yield ["cuDNN", torch.cudnn or "none"]
    yield ["driver", _UNKNOWN if not report.gpus else report.gpus[0].driver]
    yield ["GPUs", _gpu_count(report)]
    for gpu in report.gpus or ():
        yield [
            f"GPU {gpu.index}",
            f"{gpu.name}, {_gib(gpu.used_bytes)} of {_gib(gpu.total_bytes)} used",
        ]
        for process in gpu.processes:
            size = _UNKNOWN if process.memory_bytes is None else _gib(process.memory_bytes)
            yield [f"  process {process.pid}", f"{process.name}, {size}"]
    yield ["CPUs", f"{report.cpus} of {report.cpus_of_machine} usable"]
    yield ["free memory", _UNKNOWN if memory is None else _gib(memory)]
    for room in report.rooms:
        yield [
            room.what,
            f"{room.folder}, {_gib(room.free_bytes)} of {_gib(room.total_bytes)} free",
        ]
    if convolution is not None:
        yield [
            "3D convolution",
            f"{convolution.seconds * 1000:.2f} ms on {convolution.device} in "
            f"{convolution.precision}, {convolution.teraflops:.3g} TFLOP/s",
        ]
    if report.selective_scan is not None:
        yield ["selective scan", _SCANS[report.selective_scan]]
    for name, value in report.environment.items():
        yield [f"${name}", "not set" if value is None else value]
    for name, installed in report.versions.items():
        yield [name, installed or "not installed"]


def _gpu_count(report: "MachineReport") -> str:
    seen = "none" if report.torch is None else len(report.torch.sees_gpus)
    installed = (
        "nvidia-smi does not run" if report.gpus is None else f"{len(report.gpus)} installed"
    )
    return f"{seen} for PyTorch, {installed}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
