"""Whether every key is one that has an effect where it stands."""

from collections.abc import Mapping
from typing import Any

from resenc_plans.plans.architectures import PlainConvUNetArguments, ResidualEncoderUNetArguments
from resenc_plans.plans.checks.context import CheckContext, Violations
from resenc_plans.plans.configuration import PROVENANCE, Configuration, PlansDocument
from resenc_plans.plans.inheritance import INHERITS_FROM, inherit
from resenc_plans.plans.legacy import OLD_INTENSITIES, OLD_KEYS
from resenc_plans.plans.training_settings import NAMES_OF_NNUNET, TrainingSettings
from resenc_plans.words import nearest, suggestion

FILE_KEYS = {*PlansDocument.model_fields, OLD_INTENSITIES, PROVENANCE, "$schema"}
CONFIGURATION_KEYS = {*Configuration.model_fields, *OLD_KEYS}

_NETWORK_KEYS = {
    *ResidualEncoderUNetArguments.model_fields,
    *PlainConvUNetArguments.model_fields,
}
_SETTINGS = {name: setting for setting, name in NAMES_OF_NNUNET.items()} | {
    setting: setting for setting in TrainingSettings.model_fields
}
"""Settings of a training by their names, nnU-Net's and those here."""
_OWN_TO_CONFIGURATIONS = {INHERITS_FROM, "batch_size", "data_identifier", "patch_size"}


def unknown_keys(context: CheckContext) -> Violations:
    """A key that resembles a known one is probably a typing error."""
    elsewhere = {(name, key) for name, key, _ in misplaced_keys(context)}
    for key in context.document.keys() - FILE_KEYS:
        hint = suggestion(key, FILE_KEYS, likeness=0.75)
        if hint and (None, key) not in elsewhere:
            yield None, key, f"is unknown.{hint}"
    for name, values in context.document["configurations"].items():
        for key in values:
            meant = meant_key(key)
            if meant and (name, key) not in elsewhere:
                yield name, key, f"is unknown, so it has no effect. Did you mean {meant}?"


def meant_key(key: str) -> str | None:
    """The key of a configuration that an unknown one is probably a typing error of.

    >>> meant_key("batchsize"), meant_key("batch_size"), meant_key("colour")
    ('batch_size', None, None)
    """
    if key in CONFIGURATION_KEYS:
        return None
    return nearest(key, CONFIGURATION_KEYS, likeness=0.75)


def misplaced_keys(context: CheckContext) -> Violations:
    """A key that has a meaning elsewhere has no effect where it stands."""
    for key, value in context.document.items():
        where = None if key in FILE_KEYS else _place_of(key, value)
        if where is None and key in CONFIGURATION_KEYS - FILE_KEYS:
            where = "belongs to a configuration"
        if where is not None:
            yield None, key, f"has no effect here: it {where}."
    written = context.document["configurations"]
    for name, values in written.items():
        is_current = name in context.resolved and "architecture" in inherit(written, name)
        for key, value in values.items():
            if key in OLD_KEYS and is_current:
                yield name, key, "is of the old format and has no effect beside architecture."
            elif key not in CONFIGURATION_KEYS:
                where = "belongs to the file" if key in FILE_KEYS else _place_of(key, value)
                if where is not None:
                    yield name, key, f"has no effect here: it {where}."


def extra_keys(context: CheckContext) -> Violations:
    """Keys that nnU-Net does not read have no effect there."""
    others = (*unknown_keys(context), *misplaced_keys(context))
    suspicious = {(name, key) for name, key, _ in others}
    for key in context.document:
        if key not in FILE_KEYS and (None, key) not in suspicious:
            yield None, key, "is not a key that nnU-Net reads; it is kept."
    for name, values in context.document["configurations"].items():
        for key in values:
            if key not in CONFIGURATION_KEYS and (name, key) not in suspicious:
                yield name, key, "is not a key that nnU-Net reads; it is kept."


def _place_of(key: str, value: Any) -> str | None:
    """Where a key belongs that is none of those known here, as the end of a sentence."""
    first, dot, _ = key.partition(".")
    if isinstance(value, Mapping) and value.keys() & _OWN_TO_CONFIGURATIONS:
        return "is a configuration, and belongs directly under configurations"
    if key in _SETTINGS:
        return f"belongs under training of a configuration, as {_SETTINGS[key]}"
    if key in _NETWORK_KEYS:
        return "belongs under architecture.arch_kwargs, and an architecture is inherited whole"
    if dot and first in CONFIGURATION_KEYS:
        return f"is one key with dots, where objects are nested under {first}"
    return None
