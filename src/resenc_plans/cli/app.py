"""The command line: one app of all commands."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resenc_plans import __version__
from resenc_plans.cli.commands.accumulate import accumulate
from resenc_plans.cli.commands.baselines import baselines
from resenc_plans.cli.commands.compare import compare
from resenc_plans.cli.commands.convert_msd import convert_msd
from resenc_plans.cli.commands.convert_old import convert_old
from resenc_plans.cli.commands.cost import cost
from resenc_plans.cli.commands.create import create
from resenc_plans.cli.commands.demo import demo
from resenc_plans.cli.commands.derive import derive
from resenc_plans.cli.commands.diff import diff
from resenc_plans.cli.commands.doctor import doctor
from resenc_plans.cli.commands.download_model import download_model
from resenc_plans.cli.commands.ensemble import ensemble
from resenc_plans.cli.commands.evaluate import evaluate
from resenc_plans.cli.commands.export_model import export_model
from resenc_plans.cli.commands.fingerprint import fingerprint
from resenc_plans.cli.commands.import_model import import_model
from resenc_plans.cli.commands.move_plans import move_plans
from resenc_plans.cli.commands.postprocess import postprocess
from resenc_plans.cli.commands.predict import predict
from resenc_plans.cli.commands.preprocess import preprocess
from resenc_plans.cli.commands.presets import presets
from resenc_plans.cli.commands.resolve import resolve
from resenc_plans.cli.commands.schema import schema
from resenc_plans.cli.commands.select import select
from resenc_plans.cli.commands.show import show
from resenc_plans.cli.commands.study import study
from resenc_plans.cli.commands.train import train
from resenc_plans.cli.commands.upgrade import upgrade
from resenc_plans.cli.commands.validate import validate
from resenc_plans.cli.commands.verify import verify
from resenc_plans.cli.ending import exit_code_of
from resenc_plans.cli.options import option_names, with_options
from resenc_plans.cli.training_job import rank_prefix
from resenc_plans.cli.unknown_options import AnsweringCommand, AnsweringGroup

app = typer.Typer(
    name="resenc-plans",
    cls=AnsweringGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    rich_markup_mode=None,
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"resenc-plans {__version__}\n")
        raise typer.Exit


@app.callback()
def resenc_plans(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Print details, with a traceback for each failed case."),
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file",
            metavar="FILE",
            help="Append these details to a file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Plans for nnU-Net's residual-encoder presets: make, derive, check and compare them.

    Options stand before the command. Example: resenc-plans --log-file log.txt predict ...
    """
    from resenc_plans.cli.logs import configure_logging

    del version  # its callback prints it
    configure_logging(verbose=verbose, log_file=log_file)


for command in (
    doctor,
    verify,
    fingerprint,
    demo,
    convert_msd,
    convert_old,
    create,
    presets,
    baselines,
    cost,
    preprocess,
    train,
    predict,
    ensemble,
    evaluate,
    compare,
    postprocess,
    select,
    accumulate,
    export_model,
    import_model,
    download_model,
    show,
    resolve,
    derive,
    move_plans,
    diff,
    upgrade,
    validate,
    schema,
):
    # Extra arguments are accepted where the command explains why it refuses them.
    settings = {"allow_extra_args": command is evaluate}
    app.command(cls=AnsweringCommand, context_settings=settings)(command)


app.add_typer(study)


def main() -> None:
    """Run the command line; every expected error becomes one message on stderr."""
    sys.exit(exit_code_of(app, said=_with_options))


def _with_options(message: str) -> str:
    """A message of the library as a user of the command needs it, who may run several ranks."""
    command: Any = typer.main.get_group(app)
    for argument in sys.argv[1:]:
        if isinstance(command, TyperGroup) and argument in command.commands:
            command = command.commands[argument]
    options = {} if isinstance(command, TyperGroup) else option_names(command.params)
    return rank_prefix() + with_options(message, options)
