"""Whether the weights of losses are those of the network's outputs, before the first batch."""

import logging

from resenc_plans.datasets.labels import Labels
from resenc_plans.errors import ConfigurationError
from resenc_plans.networks.check import find_outputs
from resenc_plans.plans.configuration import ResolvedConfiguration, input_channels
from resenc_plans.plans.known_networks import is_known, resolutions_of
from resenc_plans.reprs import numbers
from resenc_plans.training.step import TrainingStep
from resenc_plans.words import counted

logger = logging.getLogger(__name__)


def check_outputs(
    step: TrainingStep,
    config: ResolvedConfiguration,
    labels: Labels,
    *,
    deep_supervision: bool,
    is_own: bool,
) -> str | None:
    """Refuse weights of another number than the network has outputs.

    One forward pass without values finds the outputs of a network that nothing is known of; where
    there are several, the result says so. `is_own` is whether the network is the caller's own,
    not that of the configuration.

    Raises
    ------
    TrainingError
        The numbers differ.
    ConfigurationError
        The configuration's network does not take its patch.
    """
    if not is_own and is_known(config.architecture):
        step.weights_of(resolutions_of(config).outputs if deep_supervision else 1)
        return None
    channels = input_channels(config, labels)
    try:
        outputs = find_outputs(step.network, config, channels, labels.num_heads)
    except ConfigurationError as error:
        if not is_own:
            raise
        logger.debug("The caller's network was not tried", exc_info=error)
        return None
    if outputs is None:
        return None
    weights = step.weights_of(len(outputs))
    if len(outputs) == 1:
        return None
    sizes = ", ".join(map(numbers, outputs))
    return (
        f"The network returns {counted(len(outputs), 'output')} in training, of {sizes} voxels "
        f"for a patch of {numbers(config.patch_size)}. Their losses weigh "
        f"{', '.join(f'{weight:.3g}' for weight in weights)}."
    )
