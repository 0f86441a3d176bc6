"""The command presets: the presets, the published comparison, the nearest preset."""

from typing import TYPE_CHECKING, Annotated

import typer

from resenc_plans.cli.options import (
    Format,
    FormatOption,
    parse_gigabytes,
)
from resenc_plans.cli.render import note, print_json, print_table, say
from resenc_plans.reprs import rounded

if TYPE_CHECKING:
    from resenc_plans.planning.published import BudgetMatch


def presets(
    vram_gb: Annotated[
        str | None,
        typer.Option(
            "--vram",
            metavar="GB",
            help="GPU memory of the method to compare with.",
            show_default=False,
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS", help="Its training time on an A100 40 GB.", show_default=False
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """The presets and the published comparison; or the preset nearest to a method's budget.

    Example: resenc-plans presets --vram 17 --hours 68
    """
    from dataclasses import asdict

    from resenc_plans.planning.presets import presets as known_presets
    from resenc_plans.planning.published import match_budget, published_results

    if vram_gb is not None or hours is not None:
        memory = None if vram_gb is None else parse_gigabytes(vram_gb, "--vram")
        matches = match_budget(memory, hours)
        if format is Format.JSON:
            print_json([asdict(match) | {"distance": match.distance} for match in matches])
        else:
            _print_matches(matches)
    elif format is Format.JSON:
        print_json(
            {
                "presets": [asdict(preset) for preset in known_presets()],
                "published": [asdict(result) for result in published_results()],
            }
        )
    else:
        _print_presets()
        _print_published()


def _print_presets() -> None:
    from resenc_plans.planning.presets import presets as known_presets

    print_table(
        ["preset", "nnU-Net's planner", "plans name", "target (GB)", "resampling"],
        [
            [
                preset.key,
                preset.planner,
                preset.plans_name,
                f"{preset.gpu_memory_gb:g}",
                preset.resampling,
            ]
            for preset in known_presets()
        ],
        title="Presets of `resenc-plans create`",
    )


def _print_published() -> None:
    from resenc_plans.planning.published import DATASETS, published_results

    print_table(
        ["system", "preset", *DATASETS, "VRAM (GB)", "hours"],
        [
            [
                result.system,
                result.preset or "",
                *(f"{dice:.2f}" for dice in result.dice),
                f"{result.vram_gb:g}",
                f"{result.hours:g}",
            ]
            for result in published_results()
        ],
        title="Mean Dice (%) of five-fold cross-validation, training on one A100 40 GB",
    )
    say(
        "nnU-Net Revisited, arXiv 2404.09556, which asks to be cited by whoever uses the presets.\n"
        "VRAM as nvidia-smi shows it; it is not the memory target."
    )


def _print_matches(matches: "tuple[BudgetMatch, ...]") -> None:
    best = matches[0]
    reasons = [
        f"{rounded(ratio, 2)} times the {what}"
        for ratio, what in ((best.vram_ratio, "GPU memory"), (best.hours_ratio, "hours"))
        if ratio
    ]
    say(
        f"Compare with {best.result.system} (preset {best.result.preset}): "
        f"it takes {' and '.join(reasons)}, the nearest of the presets."
    )
    print_table(
        ["preset", "VRAM (GB)", "hours", "times the VRAM", "times the hours", "distance"],
        [
            [
                match.result.preset,
                f"{match.result.vram_gb:g}",
                f"{match.result.hours:g}",
                f"{match.vram_ratio:.2f}" if match.vram_ratio else "-",
                f"{match.hours_ratio:.2f}" if match.hours_ratio else "-",
                f"{match.distance:.2f}",
            ]
            for match in matches
        ],
    )
    far = [r for r in (best.vram_ratio, best.hours_ratio) if r and not 2 / 3 <= r <= 1.5]
    if far:
        note("Even the nearest preset is more than 1.5 times off: say so where you compare.")
