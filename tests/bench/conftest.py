"""The benchmarks that pytest runs: `--brief` runs each for a moment, which shows that it still runs and measures nothing."""
import pytest

BRIEF_ROUNDS = 3


def pytest_addoption(parser):
    parser.addoption("--brief", action="store_true", help="a moment of each benchmark, to see that it runs")


@pytest.fixture(scope="session")
def rounds(request):
    """How many rounds to run where so many are usual."""
    brief = request.config.getoption("brief", default=False)
    return lambda usual: min(usual, BRIEF_ROUNDS) if brief else usual
