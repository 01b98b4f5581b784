"""Which epochs of a training are told."""

import pytest

from batcache.cli.model_tables import of_epoch
from batcache.training.events import Epoch


@pytest.mark.parametrize(("improved", "told"), [(None, [10, 20]), (True, [*range(1, 26)]), (False, [*range(1, 26)])])
def test_of_heads_that_learn_alone_each_tenth_is_told_and_of_others_each(
    improved: bool | None, told: list[int]
) -> None:
    epochs = [Epoch(number, 0.5, None, None, 1e-3, {}, 1.0, 9.0, 0.0, 0.1, improved) for number in range(1, 26)]
    lines = [str(line) for epoch in epochs for line in of_epoch(epoch)]
    assert [int(line.split()[1]) for line in lines] == told
