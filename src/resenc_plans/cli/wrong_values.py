"""What is answered to a value that an option does not take, and to several where it takes one."""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import typer

from resenc_plans.errors import UsageError
from resenc_plans.folders import datasets_of
from resenc_plans.words import meant

_DATASET_OPTIONS = ("-d", "--dataset")


def in_our_words(error: typer.BadParameter, command: str) -> UsageError:
    """The parser's refusal of a value: which option, what is wrong with it, what it takes."""
    parameter: Any = error.param
    if parameter is None:
        return UsageError(error.format_message())
    names = [name for name in parameter.opts if name.startswith("-")]
    in_full = [name for name in names if name.startswith("--")]
    option = (in_full or names or [parameter.name.upper()])[0]
    help = getattr(parameter, "help", None)
    remedy = f"Help: {help}" if help else f"See `resenc-plans {command} --help`."
    return UsageError(f"{option} {_what_is_wrong(error)}. {remedy}")


def _what_is_wrong(error: typer.BadParameter) -> str:
    from pydantic import ValidationError

    from resenc_plans.datasets.model_faults import fault_texts

    text = error.message
    if isinstance(error.__cause__, ValidationError):
        [text] = fault_texts(error.__cause__).values()
    choice = re.match("'(.*)' is not one of (.*)", text)
    if choice is not None:
        known = re.findall("'([^']*)'", choice[2])
        text = f"must be one of {', '.join(known)}, not {choice[1]!r}{meant(choice[1], known)}"
    return text.rstrip(".") if text.startswith("must ") else f"is not accepted: {text.rstrip('.')}"


def refuse_several_datasets(command: str, arguments: Sequence[str], *, takes_more: bool) -> None:
    """Refuse `-d 4,501`, and `-d 4 501` where no other arguments follow, with a loop over them.

    Raises
    ------
    UsageError
        Several datasets are named.
    """
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name not in _DATASET_OPTIONS:
            continue
        rest = arguments[index + 1 :]
        values = [value] if equals else list(takewhile(lambda one: not one.startswith("-"), rest))
        for named in (" ".join(values[:1]), "" if takes_more else " ".join(values)):
            datasets = datasets_of(named)
            if not datasets:
                continue
            loop = f"for dataset in {' '.join(datasets)}; do resenc-plans {command} {name}"
            raise UsageError(
                f"{name} {named}: one dataset at a time is taken. For several, use the "
                f"shell:\n{loop} $dataset; done"
            )
