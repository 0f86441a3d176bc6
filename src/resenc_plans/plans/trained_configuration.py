"""`trained_configuration`: what nnU-Net's trainers change about the network or the batch."""

from resenc_plans.plans.configuration import ResolvedConfiguration
from resenc_plans.plans.known_networks import PRIMUS_MODULE
from resenc_plans.plans.nnunet_trainers import NNUNET_TRAINERS


def trained_configuration(
    config: ResolvedConfiguration, trainer: str | None
) -> ResolvedConfiguration:
    """The configuration that a trainer of nnU-Net trains; by any other name the plans' own.

    Raises
    ------
    ConfigurationError
        The trainer replaces the normalisation, and the network's arguments name none; or the
        network by one for images of other axes.
    """
    changes = NNUNET_TRAINERS.get(trainer or "")
    if changes is None:
        return config
    if changes.batch_size is not None:
        config = config.replaced(batch_size=changes.batch_size)
    if changes.network is not None and config.dim != 3:
        raise config.error(
            f"{trainer} trains a {changes.network} network, which is for images of 3 axes. Use a "
            "configuration of so many axes, such as 3d_fullres."
        )
    if changes.patch_size is not None:
        config = config.replaced(patch_size=list(changes.patch_size))
    if changes.network is not None:
        return config.replaced(
            architecture={
                "network_class_name": f"{PRIMUS_MODULE}.{changes.network}",
                "arch_kwargs": dict(changes.network_arguments),
                "_kw_requires_import": [],
            }
        )
    if not changes.has_batch_norm:
        return config
    architecture = config.to_dict()["architecture"]
    if architecture["arch_kwargs"].get("norm_op") is None:
        raise config.error(
            f"{trainer} replaces architecture.arch_kwargs.norm_op, which this network does not "
            "have. Use another trainer."
        )
    architecture["arch_kwargs"] |= {
        "norm_op": f"torch.nn.modules.batchnorm.BatchNorm{config.dim}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    }
    return config.replaced(architecture=architecture)
