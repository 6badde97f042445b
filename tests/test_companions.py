"""`run_services`: a Manager and Services in one process."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import RefusedError, RemoteError, Service, connect, run_services
from msl_network.companions import ask_for_login

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from msl_network import Client, Link

DEADLINE = 20.0


class Named(Service):
    """Says its name, and can be shut down."""

    ended = 0

    def hello(self) -> str:
        return f"hello of {self.name}"

    def shutdown_service(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [self.name, args, kwargs]

    def shutdown_handler(self) -> None:
        self.ended += 1


class Running:
    """`run_services` in a thread."""

    def __init__(self, folder: Path, *services: Service, **kwargs: Any) -> None:
        self.port = free_port()
        self.error: BaseException | None = None
        self.keywords = {"host": "127.0.0.1", "port": self.port, "log_file": str(folder / "log.txt")} | kwargs
        self._thread = threading.Thread(target=self._run, args=services, daemon=True)
        self._thread.start()

    def _run(self, *services: Service) -> None:
        try:
            run_services(*services, **self.keywords)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def wait(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*services: Service, **kwargs: Any) -> Running:
        started.append(Running(tmp_path, *services, **kwargs))
        return started[-1]

    yield begin
    for running in started:
        running.wait()


@pytest.fixture
def started() -> Callable[[int], None]:
    """Waits until somebody listens at a port."""

    def wait(port: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline
            else:
                return

    return wait


def link_in_time(client: Client, name: str) -> Link:
    """Link with a Service that may be starting."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return client.link(name)
        except RemoteError:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("keywords", "how"),
    [
        ({"disable_tls": True}, {"disable_tls": True}),
        ({}, {"auto_save": True}),
        ({"auth_password": "open sesame"}, {"auto_save": True, "password_manager": "open sesame"}),
        ({"password_manager": "open sesame"}, {"auto_save": True, "password_manager": "open sesame"}),
    ],
    ids=["plain", "tls", "password", "password-by-its-other-name"],
)
def test_until_the_last(
    start: Callable[..., Running], started: Callable[[int], None], keywords: dict[str, Any], how: dict[str, Any]
) -> None:
    """The Manager runs until the last Service was shut down; the Services know certificate and password."""
    services = Named(name="One"), Named(name="Two")
    running = start(*services, **keywords)
    started(running.port)
    with connect(host="127.0.0.1", port=running.port, **how) as client:
        links = {name: link_in_time(client, name) for name in ("One", "Two")}
        assert links["One"].hello() == "hello of One"
        assert links["One"].shutdown_service(1, a=2) == ["One", [1], {"a": 2}]
        assert links["Two"].hello() == "hello of Two"
        assert links["Two"].shutdown_service() == ["Two", [], {}]
    running.wait()
    assert running.error is None
    assert [service.ended for service in services] == [1, 1]


def test_password_file(start: Callable[..., Running], started: Callable[[int], None], tmp_path: Path) -> None:
    """A password that is in a file is known to the Services, too."""
    file = tmp_path / "password.txt"
    file.write_text("open sesame\n")
    running = start(Named(name="One"), auth_password=str(file), disable_tls=True)
    started(running.port)
    with connect(host="127.0.0.1", port=running.port, disable_tls=True, password_manager="open sesame") as client:
        link_in_time(client, "One").shutdown_service()
    running.wait()
    assert running.error is None


def test_a_service_that_cannot_start(start: Callable[..., Running]) -> None:
    """A Service that cannot start ends all, and is reported."""
    services = Named(name="Same"), Named(name="Same")
    running = start(*services, disable_tls=True)
    running.wait()
    assert isinstance(running.error, RefusedError)
    assert "A 'Same' service is already running" in str(running.error)
    assert sum(service.ended for service in services) == 2


def test_no_service(caplog: pytest.LogCaptureFixture) -> None:
    """Without a Service there is nothing to run, which is said."""
    run_services(port=0)
    assert "run_services was given no Service" in caplog.text


def test_no_object() -> None:
    """A class is no Service yet."""
    with pytest.raises(TypeError, match="found type; make an object of the class"):
        run_services(Named)  # type: ignore[arg-type]


def test_a_keyword_that_nobody_knows(
    start: Callable[..., Running], started: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A keyword that is misspelt is ignored, as in 1.0, and said."""
    running = start(Named(name="One"), disable_tls=True, auth_lgin=True)
    started(running.port)
    with connect(host="127.0.0.1", port=running.port, disable_tls=True) as client:
        link_in_time(client, "One").shutdown_service()
    running.wait()
    assert "run_services ignores keywords that nobody knows: auth_lgin" in caplog.text


def test_who_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a login a person is asked once, before anything has started; what was given is not asked for."""
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return "alice" if "User name" in text else "wonderland"

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("getpass.getpass", answer)
    assert ask_for_login({}) == {"username": "alice", "password": "wonderland"}
    assert asked == ["User name for the Services: ", "Password for alice: "]
    assert ask_for_login({"username": "bob", "password": "x"}) == {"username": "bob", "password": "x"}
    assert len(asked) == 2
