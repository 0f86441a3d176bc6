"""Checking networks of any class, with torch loaded only where one has to be built."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resenc_plans.plans.checks.context import CheckNetwork
    from resenc_plans.plans.configuration import ResolvedConfiguration


def network_check(allow_import: Sequence[str] | None) -> "CheckNetwork":
    """A check that may import networks of the modules of `--allow-import`."""

    def check(config: "ResolvedConfiguration", channels: int, heads: int) -> None:
        from resenc_plans.networks.registry import refuse_unknown

        allowed = tuple(allow_import or ())
        refuse_unknown(config, allowed)
        from resenc_plans.networks.check import check_network

        check_network(config, channels, heads, allow_import=allowed)

    return check
