"""What tests with the marker `docker` need: an engine, and the images, built once."""

import pytest

from tests.e2e import engine


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker"):
        engine.demand("docker", engine.missing_docker())


@pytest.fixture(scope="session")
def image() -> str:
    """The id of the slim image, made by `make docker-build`; its name is engine.IMAGE."""
    return engine.build(engine.IMAGE, "slim")


@pytest.fixture(scope="session")
def full_image() -> str:
    """The id of the image with Node.js."""
    return engine.build("localhost/multi-mcp:full", "full")
