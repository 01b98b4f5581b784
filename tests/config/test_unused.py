"""Settings that decide nothing for heads on a trunk that stays as it is."""

from typing import Any

import pytest

from batcache.config.load import load_config
from batcache.config.unused import drop_unused, list_unused


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({}, []),
        ({"training": {"scheduler": "plateau"}}, ["training.scheduler"]),
        ({"training": {"scheduler": "one_cycle", "workers": 1}}, []),
        ({"training": {"workers": 2, "patience": 3}}, ["training.patience", "training.workers"]),
        ({"augmentation": {"noise_std": 0.5}}, ["augmentation.noise_std"]),
    ],
)
def test_what_heads_do_not_use_is_named_where_it_was_changed(flags: dict[str, Any], named: list[str]) -> None:
    config = load_config(flags=flags)
    assert list_unused(config) == named
    assert (drop_unused(config) == config) == (not named)
    for learns in ({"train": "all"}, {"init": "none"}):
        assert list_unused(load_config(flags={**flags, "model": learns})) == []
