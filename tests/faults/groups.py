"""All kinds of input, in the groups that a campaign is asked for by name."""

from tests.faults.binary_inputs import BINARY_KINDS
from tests.faults.command_lines import COMMAND_LINES
from tests.faults.json_inputs import JSON_KINDS
from tests.faults.kinds import Kind

GROUPS: dict[str, dict[str, Kind]] = {
    "json": JSON_KINDS,
    **BINARY_KINDS,
    "commands": COMMAND_LINES,
}
"""By group and name."""

SHARES = {
    "json": 0.45, "nifti": 0.12, "images": 0.02, "stores": 0.08, "checkpoints": 0.14, "npz": 0.02,
    "pickles": 0.03, "archives": 0.08, "commands": 0.06,
}  # fmt: skip
"""Of the time of a campaign of all groups."""
