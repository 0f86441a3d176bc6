"""What is answered to options and commands that do not exist: those of nnU-Net, and slips.

The arguments are looked through before they are parsed: the parser would read `-plans_name X` as
`-p lans_name`, and go on with other plans.
"""

from collections.abc import Container, Sequence
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from resenc_plans.cli.help import PlainHelp
from resenc_plans.cli.wrong_values import in_our_words, refuse_several_datasets
from resenc_plans.errors import UsageError

_LIKE = 0.75
"""Similarity from which a name is suggested."""
_SLIP = 0.85
"""Similarity from which `-plan` is taken for a slip, not for the option -p with a value."""


class AnsweringCommand(PlainHelp, TyperCommand):
    """A command that answers unknown options with its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse unknown options, then parse."""
        name, parameters = _name(ctx), self.get_params(ctx)
        refuse_unknown(name, args, _arity(parameters))
        has_arguments = any(not one.opts[0].startswith("-") for one in parameters)
        refuse_several_datasets(name, args, takes_more=has_arguments)
        if not has_arguments:
            args = repeated(args, {opt for one in parameters if one.multiple for opt in one.opts})
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if (
                type(error) is not typer.BadParameter
            ):  # an option that is missing has words of its own
                raise
            raise in_our_words(error, name) from error


class AnsweringGroup(PlainHelp, TyperGroup):
    """A group that answers the names of nnU-Net's commands with its own."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Refuse nnU-Net's commands, then find the one that is called."""
        from resenc_plans.cli.nnunet_commands import answer_to_command

        answer = None if args[0] in self.commands else answer_to_command(args[0])
        if answer is not None:
            raise UsageError(answer)
        return super().resolve_command(ctx, args)


def refuse_unknown(command: str, arguments: Sequence[str], arity: dict[str, int]) -> None:
    """Refuse the first argument that is an option unknown to a command.

    Parameters
    ----------
    command
        Its name.
    arguments
        What was written after it.
    arity
        The number of values that each of its options takes.

    Raises
    ------
    UsageError
        There is one; the message says what stands for it, or what is like it.
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return
        name, equals, _ = argument.partition("=")
        if name in arity:
            for _ in range(0 if equals else arity[name]):
                next(rest, None)
        elif _is_option(name) and not _is_glued(command, name, arity):
            raise UsageError(_answer(command, name, arity))


def repeated(arguments: Sequence[str], options: Container[str]) -> list[str]:
    """Arguments with a repeatable option before each of its values, of which nnU-Net lists several.

    >>> repeated(["-f", "0", "1", "-o", "out"], {"-f"})
    ['-f', '0', '-f', '1', '-o', 'out']
    """
    result: list[str] = []
    current, is_value = None, False
    for index, argument in enumerate(arguments):
        if argument == "--":
            return [*result, *arguments[index:]]
        if is_value:
            is_value = False
        elif argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            current = name if name in options else None
            is_value = current is not None and not equals
        elif current is not None:
            result.append(current)
        result.append(argument)
    return result


def _is_option(name: str) -> bool:
    return name.startswith("-") and name != "-" and not name[1:2].isdigit() and name[1:2] != "."


def _is_glued(command: str, name: str, arity: dict[str, int]) -> bool:
    """Whether this is a short option with its value, such as -d4, and not a longer option."""
    from resenc_plans.cli.nnunet_commands import answer_to_option

    if name.startswith("--") or name[:2] not in arity:
        return False
    return answer_to_option(command, name) is None and not _nearest(name, arity, _SLIP)


def _answer(command: str, name: str, arity: dict[str, int]) -> str:
    from resenc_plans.cli.nnunet_commands import answer_to_option

    answer = answer_to_option(command, name)
    if answer is not None:
        return answer
    nearest = _nearest(name, arity, _LIKE)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    return f"No such option: {name}.{hint} `resenc-plans {command} --help` lists all."


def _nearest(name: str, arity: dict[str, int], likeness: float) -> list[str]:
    """Options of several letters that are written alike, whatever their dashes."""
    plain = {_plain(option): option for option in arity if len(_plain(option)) > 1}
    close = get_close_matches(_plain(name), plain, n=2, cutoff=likeness)
    return [plain[one] for one in close]


def _plain(option: str) -> str:
    return option.lstrip("-").replace("_", "-")


def _name(context: Any) -> str:
    """The name of a command, with that of its group."""
    own = str(context.info_name)
    is_nested = context.parent is not None and context.parent.parent is not None
    return f"{context.parent.info_name} {own}" if is_nested else own


def _arity(parameters: Sequence[Any]) -> dict[str, int]:
    return {
        option: 0 if getattr(parameter, "is_flag", False) else parameter.nargs
        for parameter in parameters
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }
