"""Defaults that differ with what a model starts from and with what of it learns."""

from collections.abc import Mapping
from typing import Any

RECIPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "none": {
        "model": {
            "pooling_type": "attention",
            "conv_layers": [64, 128, 256],
            "rnn_hidden_size": 128,
            "rnn_layers": 2,
        },
        "training": {
            "batch_size": 8,
            "epochs": 100,
            "learning_rate": 1e-3,
            "weight_decay": 1e-4,
            "class_weights": None,
            "scheduler": "plateau",
        },
    },
    "all": {"training": {"batch_size": 8, "epochs": 30, "learning_rate": 1e-3, "scheduler": "one_cycle"}},
}
"""``none``: the model starts from chance. ``all``: its trunk learns too. The defaults elsewhere are for heads alone."""


def find_recipe(model: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The defaults that go with these settings of a model, by section.

    >>> find_recipe({"conv_layers": [16, 32]})["training"]["epochs"]
    100
    >>> find_recipe({})
    {}
    """
    init = model.get("init") or "auto"
    from_chance = init == "none" or (init == "auto" and model.get("conv_layers") is not None)
    return RECIPES.get("none" if from_chance else str(model.get("train")), {})
