"""What a test does when what it needs is missing: it is skipped, or fails where that is required."""

import pytest

from tests.e2e import engine


@pytest.mark.parametrize("required", ["", "kubernetes"])
def test_a_skip_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("CONFORMANCE_REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match="no engine: start it"):
        engine.demand("docker", "no engine: start it")


@pytest.mark.parametrize("required", ["docker", "kubernetes, docker"])
def test_what_is_required_is_no_skip(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("CONFORMANCE_REQUIRE", required)
    engine.demand("docker", None)
    with pytest.raises(pytest.fail.Exception, match="no engine: start it"):
        engine.demand("docker", "no engine: start it")


def test_a_slip_of_the_pen_requires_nothing_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_REQUIRE", "dokcer")
    with pytest.raises(pytest.fail.Exception, match="names dokcer: it can name docker and kubernetes"):
        engine.demand("docker", None)


def test_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "DOCKER", "no-such-docker")
    engine.missing_docker.cache_clear()
    assert "no command 'no-such-docker': install Docker" in str(engine.missing_docker())
    engine.missing_docker.cache_clear()
