"""The page that `first_hour.py report` prints: Markdown, with the cards' names."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def report(rows: Sequence[Row]) -> str:
    """All rows, by card and PyTorch; of rows of the same run the last good one counts."""
    groups: dict[tuple[str | None, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((*row["machine"].values(), row["toy"]), []).append(row)
    return "\n".join(line for group in groups.values() for line in _of_machine(group))


def _of_machine(rows: Sequence[Row]) -> Iterator[str]:
    machine, dates = rows[0]["machine"], sorted(row["date"] for row in rows)
    yield f"## {machine['card']}{', toy size' if rows[0]['toy'] else ''}"
    yield ""
    yield (
        f"PyTorch {machine['torch']}, cuDNN {machine['cudnn'] or 'none'}, driver "
        f"{machine['driver'] or 'not known'}, Python {machine['python']}, resenc-plans "
        f"{machine['resenc_plans']}; measured from {dates[0]} to {dates[-1]}."
    )
    for part, (title, columns) in PARTS.items():
        chosen = _last_good(row for row in rows if row["part"] == part)
        if chosen:
            yield from ("", f"### {title}", "")
            yield from _table(chosen, columns)
            yield from REMARKS[part](chosen) if part in REMARKS else ()
    yield ""


def _last_good(rows: Iterable[Row]) -> list[Row]:
    """One row per run, in the order in which runs were first measured."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row["run"] not in chosen or row["error"] is None:
            chosen[row["run"]] = row
    return list(chosen.values())


Column = tuple[str, Callable[[Mapping[str, Any]], str]]


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    yield f"| run | {' | '.join(title for title, _ in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for row in rows:
        if row["error"] is not None:
            cells = [
                f"not measured: {row['error']}".replace("|", "/"),
                *([""] * (len(columns) - 1)),
            ]
        else:
            cells = [text(row["values"]) for _, text in columns]
        yield f"| {row['run']} | {' | '.join(cells)} |"


def _number(key: str, digits: str = ".3g") -> Callable[[Mapping[str, Any]], str]:
    def text(values: Mapping[str, Any]) -> str:
        value = values.get(key)
        return "-" if value is None else format(value, digits)

    return text


def _estimate(values: Mapping[str, Any]) -> str:
    if "estimate_gib" not in values:
        return "-"
    low, expected, high = values["estimate_gib"]
    return f"{expected:.1f} ({low:.1f}-{high:.1f})"


_MEMORY: tuple[Column, ...] = (
    ("allocated (GiB)", _number("allocated_gib", ".2f")),
    ("reserved (GiB)", _number("reserved_gib", ".2f")),
    ("process (GiB)", _number("process_gib", ".2f")),
    ("card (GiB)", _number("card_gib", ".2f")),
    ("estimate (GB)", _estimate),
)
_TRAINING: tuple[Column, ...] = (
    ("s per iteration", _number("iteration_s")),
    ("s per validation batch", _number("validation_s")),
    ("s per epoch", _number("epoch_s")),
    ("waiting for data", _number("waited", ".0%")),
    ("workers", _number("workers", "d")),
    ("s to the first iteration", _number("first_iteration_s")),
    *_MEMORY,
)
_TESTS: tuple[Column, ...] = (
    ("passed", _number("passed", "d")),
    ("failed", _number("failed", "d")),
    ("skipped", _number("skipped", "d")),
    ("which failed", lambda values: ", ".join(values.get("names", [])) or "-"),
)
PARTS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "presets": ("Presets on a KiTS-like dataset", _TRAINING),
    "factors": ("One factor at a time, preset M", _TRAINING),
    "nnunet": ("Beside nnU-Net's trainer, preset M", _TRAINING),
    "resume": (
        "Stopped and resumed",
        (
            ("seconds", _number("seconds")),
            ("largest weight", _number("largest_weight")),
            ("a repetition differs by", _number("repeated_differs_by")),
            ("the resumed run differs by", _number("resumed_differs_by")),
        ),
    ),
    "labels": (
        "Voxels whose label differs from the CPU's in fp32",
        (
            ("voxels", _number("voxels", ",d")),
            ("fp32", _number("fp32_differs", ".3%")),
            ("fp16", _number("fp16_differs", ".3%")),
            ("bf16", _number("bf16_differs", ".3%")),
            ("CPU (s)", _number("cpu_s")),
            ("fp16 (s)", _number("fp16_s")),
        ),
    ),
    "memory": (
        "The estimate of GPU memory",
        (*_MEMORY, ("error", _number("error", "+.1%")), ("s per step", _number("step_s"))),
    ),
    "profile": (
        "Profile of training steps, preset M",
        (
            ("steps", _number("steps", "d")),
            ("s per step", _number("step_s")),
            ("synchronisations per step", _number("synchronisations")),
            ("copies per step", _number("copies")),
            ("`item` per step", _number("item_calls")),
            ("bytes per batch", _number("bytes_per_batch", ",d")),
            ("time in changes of layout", _number("layout_share", ".1%")),
        ),
    ),
    "checks": ("Checks on the device", _TESTS),
    "tests": ("Tests", _TESTS),
}


def _about_estimates(rows: Sequence[Row]) -> Iterator[str]:
    """How far estimates are off, and how often they are too low."""
    known = [row["values"] for row in rows if row["error"] is None]
    if known:
        errors = [abs(values["error"]) for values in known]
        too_low = sum(values["error"] < 0 for values in known)
        outside = sum(values["card_gib"] > values["estimate_gib"][2] for values in known)
        yield ""
        yield (
            f"{len(known)} configurations: mean error {sum(errors) / len(errors):.1%}, largest "
            f"{max(errors):.1%}; {too_low} estimates too low, {outside} of them beyond the range."
        )


def _kernels(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["error"] is None:
            yield from (
                "",
                "| kernel | calls per step | ms per step | share |",
                "|---|---|---|---|",
            )
            for kernel in row["values"]["kernels"]:
                yield (
                    f"| `{kernel['name'].replace('|', '/')}` | {kernel['calls']:g} | "
                    f"{kernel['ms']:.3g} | {kernel['share']:.1%} |"
                )


REMARKS: dict[str, Callable[[Sequence[Row]], Iterable[str]]] = {
    "memory": _about_estimates,
    "profile": _kernels,
}
