"""What `--help` prints: whole sentences and whole names at any width, and no types of Python."""

import inspect
from typing import Any

_EXAMPLE = "Example:"


class PlainHelp:
    """Mixed into the commands of Typer, and into its groups."""

    help: str | None

    def get_params(self, ctx: Any) -> Any:
        """The parameters; an argument is shown by its name alone."""
        parameters = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if not parameter.opts[0].startswith("-"):
                parameter.display_type_rich = _no_type
        return parameters

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first paragraph, for the list of commands, which would else cut it off."""
        del limit
        return " ".join(inspect.cleandoc(self.help or "").partition("\n\n")[0].split())

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """The paragraphs, then the example on a line of its own, to be copied."""
        del ctx
        text, _, example = inspect.cleandoc(self.help or "").partition(_EXAMPLE)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text.strip())
        if example:
            with formatter.section(_EXAMPLE.rstrip(":")):
                formatter.write(f"{' ' * formatter.current_indent}{' '.join(example.split())}\n")


def _no_type(ctx: Any) -> str:
    del ctx
    return ""
