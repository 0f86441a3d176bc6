"""The command baselines: the published systems, and everything about one of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resenc_plans.cli.options import Format, FormatOption
from resenc_plans.cli.render import print_commands, print_json, print_table, say
from resenc_plans.words import counted

if TYPE_CHECKING:
    from resenc_plans.planning.baselines.baseline import Baseline


def baselines(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="BASELINE",
            help="One of them, such as mednext-l-k3. Default: all.",
            show_default=False,
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """The systems of nnU-Net Revisited that `create --baseline` plans; or all about one of them.

    Example: resenc-plans baselines swin-unetr
    """
    from resenc_plans.planning.baselines import registry

    if name is not None:
        baseline = registry.find_baseline(name)
        if format is Format.JSON:
            print_json(_facts(baseline))
        else:
            _print(baseline)
    elif format is Format.JSON:
        print_json([_facts(baseline) for baseline in registry.baselines()])
    else:
        _print_all(registry.baselines())


def _print_all(rows: "tuple[Baseline, ...]") -> None:
    from resenc_plans.planning.baselines.baseline import NEARNESS

    table = []
    for baseline in rows:
        published = baseline.published
        table.append(
            [
                baseline.name,
                *(
                    ["", "", ""]
                    if published is None
                    else [
                        f"{published.mean_dice:.2f}",
                        f"{published.vram_gb:g}",
                        f"{published.hours:g}",
                    ]
                ),
                baseline.licence,
                baseline.nearness,
                _state(baseline),
            ]
        )
    print_table(["name", "Dice (%)", "GB", "hours", "licence", "how near", "here"], table)
    say("Dice: mean of six datasets. GB and hours on one A100 40 GB. From arXiv 2404.09556.")
    for nearness, meaning in NEARNESS.items():
        say(f"{nearness}: {meaning}")


def _state(baseline: "Baseline") -> str:
    return "ready" if baseline.missing is None else f"needs the extra {baseline.extra}"


def _print(baseline: "Baseline") -> None:
    from resenc_plans.planning.baselines.baseline import NEARNESS

    say(f"{baseline.name}: {baseline.title}", style="bold")
    print_table(["what", "value"], [[key, value] for key, value in _lines(baseline)], fixed=1)
    for title, sentences in (
        (
            "How near to the study",
            (f"{baseline.nearness}: {NEARNESS[baseline.nearness]}",),
        ),
        ("How ours differs", baseline.differences),
        ("Not known", baseline.unknown),
        ("Sources", baseline.sources),
    ):
        if sentences:
            say(f"{title}:", style="bold")
            for sentence in sentences:
                say(f"- {sentence}")
    if baseline.missing is not None:
        say(baseline.missing)
        return
    say("Make plans:", style="bold")
    print_commands(f"resenc-plans create --baseline {baseline.name}")


def _lines(baseline: "Baseline") -> list[tuple[str, str]]:
    from resenc_plans.planning.published import DATASETS

    lines = [
        ("citation", baseline.citation),
        ("code", f"{baseline.code} ({baseline.licence})"),
        ("plans", baseline.plans_name),
        ("configurations", ", ".join(baseline.configurations)),
        ("sizes", str(baseline.sizes)),
        ("training", _training(baseline)),
    ]
    if baseline.parameters is not None:
        lines.append(("parameters", f"{baseline.parameters:,} (1 channel, 14 classes)"))
    if baseline.channels is not None:
        lines.append(("published for", f"at most {counted(baseline.channels, 'channel')}"))
    published = baseline.published
    if published is not None:
        dice = ", ".join(
            f"{name} {value:.2f}" for name, value in zip(DATASETS, published.dice, strict=True)
        )
        lines += [
            ("published Dice (%)", dice),
            ("published cost", f"{published.vram_gb:g} GB, {published.hours:g} h on an A100"),
        ]
    return lines


def _training(baseline: "Baseline") -> str:
    written = baseline.training_document
    if not written:
        return "nnU-Net's"
    return (
        "; ".join(f"{key} {_short(value)}" for key, value in written.items()) + "; else nnU-Net's"
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        name, *rest = (f"{inner} {_short(item)}" for inner, item in value.items())
        return f"{name.removeprefix('name ')} ({', '.join(rest)})"
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _facts(baseline: "Baseline") -> dict[str, Any]:
    from dataclasses import asdict

    published = baseline.published
    return {
        "name": baseline.name,
        "title": baseline.title,
        "plans_name": baseline.plans_name,
        "citation": baseline.citation,
        "code": baseline.code,
        "licence": baseline.licence,
        "published": None if published is None else asdict(published),
        "configurations": list(baseline.configurations),
        "sizes": {**asdict(baseline.sizes), "description": str(baseline.sizes)},
        "training": baseline.training_document,
        "parameters": baseline.parameters,
        "channels": baseline.channels,
        "nearness": baseline.nearness,
        "differences": list(baseline.differences),
        "unknown": list(baseline.unknown),
        "sources": list(baseline.sources),
        "extra": baseline.extra,
        "missing": baseline.missing,
    }
