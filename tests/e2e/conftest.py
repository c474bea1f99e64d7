"""What tests with the markers `docker` and `kubernetes` need: an engine or a cluster, and the images, built once."""

import pytest

from tests.e2e import cluster, engine
from tests.support.documentation import documented


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker"):
        engine.demand("docker", engine.missing_docker())
    if item.get_closest_marker("kubernetes"):
        engine.demand("kubernetes", cluster.missing_cluster())


@pytest.fixture(scope="session")
def image() -> str:
    """The id of the slim image; its name is engine.IMAGE."""
    return engine.build(documented("make docker-build"))


@pytest.fixture(scope="session")
def full_image() -> str:
    """The id of the image with Node.js."""
    return engine.build(documented("make docker-build TARGET=full"), engine.FULL)
