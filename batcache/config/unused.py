"""Settings that decide nothing in some trainings: neither the outcome nor whether a run is up to date."""

from dataclasses import fields, replace

from batcache.config.settings import AugmentationConfig, Config, TrainingConfig

_UNUSED_BY_HEADS = ("patience", "validation_share", "workers", "keep_on_gpu")
"""Of ``training``. Heads that learn alone keep their last epoch, need no validation clips, and read from memory."""

_USED_BY_HEADS_ALONE = ("simulated_sounds", "simulated_clips", "guide")
"""Of ``training``. Only beside heads that learn alone is anything simulated."""


def drop_unused(config: Config) -> Config:
    """The settings with those that decide nothing at their defaults.

    Heads that learn alone see embeddings, which are not augmented. Each epoch is their best, so the schedule
    ``plateau`` never lowers the rate.
    """
    usual = TrainingConfig()
    if not config.model.trains_heads_alone:
        unasked = {name: getattr(usual, name) for name in _USED_BY_HEADS_ALONE}
        return replace(config, training=replace(config.training, **unasked))
    training = replace(config.training, **{name: getattr(usual, name) for name in _UNUSED_BY_HEADS})
    if not training.simulated_clips:
        training = replace(training, guide=usual.guide)
    if training.scheduler == "plateau":
        training = replace(training, scheduler="none")
    return replace(config, training=training, augmentation=AugmentationConfig())


def list_unused(config: Config) -> list[str]:
    """The settings that differ from their defaults and decide nothing, as the YAML names them."""
    used = drop_unused(config)
    return [
        f"{section}.{field.name}"
        for section in ("training", "augmentation")
        for field in fields(getattr(config, section))
        if getattr(getattr(config, section), field.name) != getattr(getattr(used, section), field.name)
    ]
