"""A panel of a picture with what a test wants in it."""

from dataclasses import replace
from typing import Any

import numpy as np

from batcache.evaluation.pictures.panels import Panel


def panel(**fields: Any) -> Panel:
    return replace(Panel("a.wav", "", 0.0, np.zeros((800, 128), np.float16), (), (), None), **fields)
