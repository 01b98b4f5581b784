"""The examples in docstrings hold."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["cells", "errors", "evaluation.metrics", "evaluation.report"])
def test_the_examples_in_docstrings_hold(module) -> None:
    found = doctest.testmod(importlib.import_module(f"batcache.{module}"))
    assert found.attempted and not found.failed
