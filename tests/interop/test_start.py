"""The Manager's process: flags of 1.0, without TLS, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import PeerError, eventually

if TYPE_CHECKING:
    from .lab import Client, Lab


def calls(client: Client) -> bool:
    """Whether the Client can link and call."""
    answer: bool = client.run("cxn.link('Echo').echo('hello', x=1) == [['hello'], {'x': 1}]")
    return answer


def test_flags_only(lab: Lab) -> None:
    """``start --auth-password abc 123`` needs no file; the words of the password are joined by spaces."""
    lab.keywords["password_manager"] = "abc 123"
    lab.start_with("--auth-password", "abc", "123", "--log-level", "DEBUG")
    lab.instruments("Echo")
    assert calls(lab.client())


def test_short_flags(lab: Lab) -> None:
    """The short flags of 1.0 are understood, files for the log and the records are made where they say."""
    log, database = lab.folder / "here.log", lab.folder / "records" / "here.sqlite3"
    lab.keywords["password_manager"] = "abc"
    lab.start_with("-H", "127.0.0.1", "-P", "abc", "-l", str(log), "-d", str(database), "-G", "debug")
    lab.instruments("Echo")
    assert calls(lab.client())
    assert log.is_file()
    assert database.is_file()


@pytest.mark.parametrize("how", ["flag", "file"])
def test_without_tls(lab: Lab, how: str) -> None:
    """Peers talk to a Manager without TLS when they are told to."""
    if how == "flag":
        lab.keywords["disable_tls"] = True
        lab.start_with("--disable-tls")
    else:
        lab.start(tls=False)
    lab.instruments("Echo")
    assert calls(lab.client())


@pytest.mark.ours
@pytest.mark.parametrize("tls", [True, False])
def test_message_that_is_too_long(lab: Lab, *, tls: bool) -> None:
    """2. A Client of 1.0 that sends more than the Manager takes is told so; it does not wait, and others go on."""
    (lab.folder / "limits.toml").write_text('[manager.limits]\nmax_message = "1 MiB"\n')
    lab.keywords["disable_tls"] = not tls
    lab.start_with("--config", str(lab.folder / "limits.toml"), "-H", "127.0.0.1", *([] if tls else ["--disable-tls"]))
    lab.instruments("Echo")
    client = lab.client()
    with pytest.raises(PeerError, match="ValueError: a message may have 1048576 bytes"):
        client.run("cxn.link('Echo').echo('x' * 3_000_000)")
    assert calls(lab.client())


def test_tls_expected(lab: Lab) -> None:
    """A Client that expects TLS where there is none is told what to try; the Manager goes on serving."""
    lab.start(tls=False)
    with pytest.raises(PeerError, match=r"(?s)ConnectionError: .*disable_tls=True"):
        lab.client(disable_tls=False)
    lab.instruments("Echo")
    assert calls(lab.client())


@pytest.mark.ours
def test_sigterm(lab: Lab) -> None:
    """26. SIGTERM ends the Manager with exit status 0, and every peer sees the end of its connection."""
    manager = lab.start()
    service = lab.instruments("Echo")
    client = lab.client()
    assert calls(client)
    manager.terminate()
    assert manager.wait() == 0
    assert service.wait() == 0
    eventually(lambda: not client.run("cxn.is_connected()"))


def test_restart_on_the_same_port(lab: Lab) -> None:
    """28. A Manager may be started again at once on its port, with its certificate, after it was killed."""
    manager = lab.start()
    lab.instruments("Echo")
    client = lab.client()
    assert calls(client)
    manager.kill()
    manager.wait()
    eventually(lambda: not client.run("cxn.is_connected()"))
    lab.start()
    lab.instruments("Echo")
    client.run("cxn = connect(**kwargs)")  # trusts the certificate that it has stored
    assert calls(client)
