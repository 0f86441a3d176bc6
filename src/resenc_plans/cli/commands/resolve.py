"""The command that prints a configuration as it runs."""

from typing import Annotated

import typer

from resenc_plans.cli.options import DatasetOption, PlansOption
from resenc_plans.cli.render import print_json


def resolve(
    configuration: Annotated[
        str,
        typer.Argument(
            metavar="CONFIGURATION",
            help="Configuration by name, such as 3d_fullres.",
            show_default=False,
        ),
    ],
    plans: PlansOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Print a configuration as JSON, inheritance applied, in the current format.

    Example: resenc-plans resolve 3d_fullres
    """
    from resenc_plans.cli.scope import find_plans

    print_json(find_plans(plans, dataset).resolve(configuration).to_dict())
