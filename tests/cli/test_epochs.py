"""Which epochs of a training are told."""

import pytest

from batcache.cli.model_tables import of_epoch
from batcache.training.events import Epoch

ALL = [*range(1, 26)]


@pytest.mark.parametrize(
    ("improved", "seconds", "told"), [(None, 0.1, [10, 20]), (None, 9.0, ALL), (True, 0.1, ALL), (False, 0.1, ALL)]
)
def test_of_heads_that_learn_alone_and_quickly_each_tenth_is_told_and_of_others_each(
    improved: bool | None, seconds: float, told: list[int]
) -> None:
    epochs = [Epoch(number, 0.5, None, None, 1e-3, {}, 1.0, 9.0, 0.0, seconds, improved) for number in ALL]
    lines = [str(line) for epoch in epochs for line in of_epoch(epoch)]
    assert [int(line.split()[1]) for line in lines] == told
