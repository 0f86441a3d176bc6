"""`inherits_from`: from a configuration as written to one with every value in place.

nnU-Net's rule (PlansManager.get_configuration): the parent is resolved first, then the child's
keys replace the parent's, whole values, no merge inside them.
"""

from collections.abc import Mapping
from typing import Any

from resenc_plans.errors import InheritanceError
from resenc_plans.words import suggestion

INHERITS_FROM = "inherits_from"

Written = Mapping[str, Mapping[str, Any]]


def chain(configurations: Written, name: str) -> tuple[str, ...]:
    """The configuration and its ancestors, nearest first.

    >>> chain({"a": {}, "b": {"inherits_from": "a"}}, "b")
    ('b', 'a')

    Raises
    ------
    InheritanceError
        `name` or an ancestor does not exist, or the ancestors form a circle.
    """
    visited: dict[str, None] = {}
    current: Any = name
    while True:
        if isinstance(current, str) and current in visited:
            circle = " -> ".join([*visited, current])
            raise InheritanceError(
                f"{name}: inherits_from leads in a circle: {circle}. "
                "Give one of them the values it needs and remove its inherits_from."
            )
        if not isinstance(current, str) or current not in configurations:
            raise InheritanceError(_unknown(configurations, current, [*visited]))
        visited[current] = None
        if INHERITS_FROM not in configurations[current]:
            return tuple(visited)
        current = configurations[current][INHERITS_FROM]


def inherit(configurations: Written, name: str) -> dict[str, Any]:
    """The values of a configuration after inheritance, in nnU-Net's key order.

    >>> inherit({"a": {"x": 1, "y": 2}, "b": {"inherits_from": "a", "x": 3}}, "b")
    {'x': 3, 'y': 2, 'inherits_from': 'a'}

    Raises
    ------
    InheritanceError
        As `chain`.
    """
    result: dict[str, Any] = {}
    for ancestor in reversed(chain(configurations, name)):
        result.update(configurations[ancestor])
    return result


def origins(configurations: Written, name: str) -> dict[str, str]:
    """Which configuration of the chain each value of `name` comes from.

    >>> origins({"a": {"x": 1, "y": 2}, "b": {"inherits_from": "a", "x": 3}}, "b")
    {'x': 'b', 'y': 'a', 'inherits_from': 'b'}
    """
    return {
        key: ancestor
        for ancestor in reversed(chain(configurations, name))
        for key in configurations[ancestor]
    }


def _unknown(configurations: Written, name: Any, children: list[str]) -> str:
    hint = suggestion(str(name), configurations)
    existing = ", ".join(configurations) or "none"
    if children:
        return (
            f"{children[-1]}: inherits_from names {name!r}, which does not exist "
            f"(chain: {' -> '.join(children)}). There is: {existing}.{hint}"
        )
    return f"There is no configuration {name!r}. There is: {existing}.{hint}"
