"""Errors as people read them."""

import pytest

from multimcp.errors import BackendError, Fault, backend_failure, describe, unwrap


def test_groups_are_unwrapped() -> None:
    inner = ValueError("x")
    assert unwrap(ExceptionGroup("g", [ExceptionGroup("h", [inner]), KeyError()])) is inner
    assert unwrap(inner) is inner


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (BackendError("is gone"), "is gone"),
        (ExceptionGroup("g", [BackendError("is gone")]), "is gone"),
        (Fault(-32000, "no"), "answered with error -32000: no"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (KeyError(), "KeyError"),
        (OSError(), "OSError"),
    ],
)
def test_one_line(exc: Exception, text: str) -> None:
    assert describe(exc) == text


def test_a_backends_failure_names_it() -> None:
    error = backend_failure("w", "is not connected")
    assert (error.code, error.message, error.data) == (-32603, "MCP server 'w': is not connected", {"server": "w"})
