"""Fixtures of the system tests."""
import pytest

from tests.system.browser import Browser
from tests.system.theatre import Theatre


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    """A running source and appliance for the tests of one module."""
    with Theatre(tmp_path_factory.mktemp("theatre"), ["--timestamp-bars"]) as theatre:
        yield theatre


@pytest.fixture
def appliance(theatre):
    """The same, by the name that tests of the outer interface use."""
    return theatre


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A real headless Chromium with a new profile; each page has cookies and storage of its own."""
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
