"""What a network costs: by the closed form for nnU-Net's U-Nets, by a trace for any other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resenc_plans.cli.measurement import Network, calibration_in_use

if TYPE_CHECKING:
    from resenc_plans.cost.estimate import Cost
    from resenc_plans.profiling.trace import TraceCost


def price(network: Network, gpus: int, allow_import: Sequence[str] = ()) -> "Cost | TraceCost":
    """The cost of a training step on the GPU with the largest share of the batch.

    Raises
    ------
    ConfigurationError, NetworkError
        The network cannot be built, does not take the patch, or the batch cannot be split.
    """
    from resenc_plans.cost.estimate import estimate_cost
    from resenc_plans.plans.architectures import OtherArchitecture

    config, channels, heads = network.config, network.input_channels, network.heads
    if isinstance(config.architecture, OtherArchitecture):
        from resenc_plans.profiling.trace import trace_cost

        return trace_cost(
            config,
            channels,
            heads,
            gpus=gpus,
            regions=network.regions,
            allow_import=tuple(allow_import),
        )
    return estimate_cost(
        config,
        channels,
        heads,
        gpus=gpus,
        regions=network.regions,
        calibration=calibration_in_use(),
    )
