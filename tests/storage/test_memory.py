"""Looking for garbage is left alone for a while, and goes on as it was."""

import gc
from collections.abc import Iterator

import pytest

from batcache.storage.memory import no_garbage


@pytest.fixture(autouse=True)
def looking() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_garbage_is_looked_for_again_also_after_an_error_and_not_before_the_outermost_ends() -> None:
    with pytest.raises(KeyError), no_garbage():
        with no_garbage():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_where_none_was_looked_for_none_is_afterwards() -> None:
    gc.disable()
    with no_garbage():
        pass
    assert not gc.isenabled()
