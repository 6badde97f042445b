from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from msl_network import paths
from msl_network.certificates import describe_certificate, load_certificate, load_key
from msl_network.cli_files import add_commands, join_password
from msl_network.errors import CertificateError, ConfigError, StartError
from msl_network.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything the Manager makes, below its folder, and the option that deletes it.
MADE = {
    "manager.sqlite3": "-d",
    "manager.sqlite3-wal": "-d",
    "manager.sqlite3-shm": "-d",
    "manager.sqlite3-journal": "-d",
    "certs/localhost.crt": "-c",
    "certs/10.0.0.7.crt": "-c",
    "keys/localhost.key": "-k",
    "logs/manager-2025-01-02-03-04-05.log": "-l",
}
# What somebody else may keep beside it.
FOREIGN = (
    "manager.sqlite3.backup",
    "notes.txt",
    "certs/readme.txt",
    "keys/id_rsa",
    "logs/old/a.log",
    "a.key",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSL_NETWORK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(*words: str) -> int:
    """Run a command as cli.py does; a StartError passes through to the test."""
    parser = argparse.ArgumentParser(prog="msl-network")
    add_commands(parser.add_subparsers())
    args = parser.parse_args(words)
    status = args.run(args)
    assert isinstance(status, int)
    return status


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that sets what the person types."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says what it does, what each option means, and shows examples that it parses."""
    for command in ("keygen", "certgen", "certdump", "delete"):
        with pytest.raises(SystemExit):
            run(command, "--help")
        text = capsys.readouterr().out

        assert f"usage: msl-network {command}" in text
        assert "examples:" in text
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers())
        examples = [line.split()[1:] for line in text.splitlines() if line.startswith("    msl-network ")]
        assert len(examples) == 2
        for words in examples:
            assert parser.parse_args(words).run.__name__ == command


def test_keygen_by_default(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes an ECC key on P-256 in the default place, and says where."""
    assert run("keygen") == 0
    key = load_key(home / "keys" / "localhost.key")

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert capsys.readouterr().out == f"Created the ECC key {home / 'keys' / 'localhost.key'}\n"


def test_keygen_with_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, size, curve, place and a password of several words are as in 1.0."""
    assert run("keygen", "rsa", "-s", "3072", "-o", "a.key", "-p", "two", "words") == 0
    key = load_key(tmp_path / "a.key", "two words")

    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 3072
    assert capsys.readouterr().out == "Created the encrypted RSA key a.key\n"

    assert run("keygen", "ECC", "--curve", "secp384r1", "--out", "b.key") == 0
    key = load_key(tmp_path / "b.key")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp384r1"


def test_keygen_says_what_it_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that was there is replaced, as in 1.0, but not silently."""
    run("keygen")
    before = paths.key_file().read_bytes()
    capsys.readouterr()
    run("keygen")

    assert "replaced the key that was there" in capsys.readouterr().out
    assert paths.key_file().read_bytes() != before


def test_keygen_of_dsa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A DSA key is made for whoever wants one, with a word that the Manager cannot use it."""
    assert run("keygen", "dsa", "--out", "a.key", "--size", "2048") == 0
    assert isinstance(load_key(tmp_path / "a.key"), dsa.DSAPrivateKey)
    assert "the Manager cannot start with this key" in capsys.readouterr().out


def test_keygen_refuses(home: Path) -> None:
    """A weak size and an unknown curve are refused in one line, words of the wrong kind by argparse."""
    with pytest.raises(CertificateError, match="1024 bits; allowed for RSA"):
        run("keygen", "rsa", "--size", "1024")
    with pytest.raises(CertificateError, match="did you mean SECP256R1"):
        run("keygen", "--curve", "SECP256K1")
    for words in (["elgamal"], ["--size", "big"]):
        with pytest.raises(SystemExit):
            run("keygen", *words)
    assert not home.exists()


def test_certgen_by_default(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes the default key if there is none, and a certificate of it that the Manager can use."""
    cert, key = home / "certs" / "localhost.crt", home / "keys" / "localhost.key"
    assert run("certgen") == 0
    server_context(cert, key)
    assert capsys.readouterr().out == f"Created the ECC key {key}\nCreated the certificate {cert}\n"

    made = key.read_bytes()
    assert run("certgen") == 0
    assert key.read_bytes() == made
    assert "It replaced the certificate that was there" in capsys.readouterr().out


def test_certgen_with_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Key, password, hash, years and place are as in 1.0; --show prints what certdump would."""
    run("keygen", "-o", "a.key", "-p", "two", "words")
    capsys.readouterr()
    words = ("-k", "a.key", "-a", "sha512", "-y", "0.5", "--show", "a.crt", "-p", "two", "words")
    assert run("certgen", *words) == 0
    cert = load_certificate(tmp_path / "a.crt")

    assert cert.public_key() == load_key(tmp_path / "a.key", "two words").public_key()
    assert cert.signature_hash_algorithm is not None
    assert cert.signature_hash_algorithm.name == "sha512"
    assert (cert.not_valid_after_utc - cert.not_valid_before_utc).days == 183
    described = describe_certificate(tmp_path / "a.crt")
    assert capsys.readouterr().out == f"Created the certificate a.crt\n\n{described}\n"


def test_certgen_makes_an_encrypted_default_key(home: Path) -> None:
    """A password for a default key that does not exist yet encrypts it."""
    run("certgen", "-p", "secret")
    server_context(paths.cert_file(), paths.key_file(), "secret")
    assert b"ENCRYPTED" in paths.key_file().read_bytes()


def test_certgen_refuses(home: Path) -> None:
    """Years that are not positive, a key that is not there and a broken hash end in one line."""
    run("keygen")
    with pytest.raises(CertificateError, match="cannot be valid for 0 years"):
        run("certgen", "--years-valid", "0")
    with pytest.raises(CertificateError, match=r"nowhere.key: there is no such file"):
        run("certgen", "--key-file", "nowhere.key")
    with pytest.raises(CertificateError, match=r"unknown hash of a certificate: 'SHA1' \(allowed: "):
        run("certgen", "--algorithm", "SHA1")
    with pytest.raises(SystemExit):
        run("certgen", "--years-valid", "many")
    assert not paths.cert_file().exists()


def test_certdump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the default certificate, or any other one, on the terminal or in a file."""
    run("certgen")
    run("certgen", "b.crt")
    capsys.readouterr()

    assert run("certdump") == 0
    default = paths.cert_file()
    assert capsys.readouterr().out == f"Certificate: {default}\n{describe_certificate(default)}\n"

    assert run("certdump", "b.crt", "-o", "new/b.txt") == 0
    expected = f"Certificate: b.crt\n{describe_certificate(tmp_path / 'b.crt')}\n"
    assert (tmp_path / "new" / "b.txt").read_text(encoding="utf-8") == expected
    assert capsys.readouterr().out == f"Wrote the details of b.crt to {Path('new/b.txt')}\n"


def test_certdump_refuses(tmp_path: Path) -> None:
    """No such certificate, or no such place for the text, is said in one line."""
    with pytest.raises(CertificateError, match=r"localhost.crt: there is no such file"):
        run("certdump")
    run("certgen")
    with pytest.raises(CertificateError, match=f"{tmp_path}: cannot be written: "):
        run("certdump", "--out", str(tmp_path))


@pytest.mark.parametrize("option", ["-c", "-d", "-k", "-l"])
def test_delete_one_kind(home: Path, option: str) -> None:
    """An option deletes its own kind of files, and no other, nor what somebody else put there."""
    fill(home, *MADE, *FOREIGN)
    assert run("delete", option, "--yes") == 0
    assert left(home) == {name for name in MADE if MADE[name] != option} | set(FOREIGN)


def test_delete_all(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All deletes all that the Manager made, says each, and leaves folders that are not empty."""
    fill(home, *MADE, *FOREIGN)
    assert run("delete", "-a", "-y") == 0
    assert left(home) == set(FOREIGN)
    out = capsys.readouterr().out
    assert sorted(out.splitlines()) == sorted(f"Deleted {home / name}" for name in MADE)


def test_delete_removes_folders_that_are_empty_then(home: Path) -> None:
    """The folders of the Manager go with the last file; the home itself stays."""
    fill(home, *MADE)
    run("delete", "--all", "--yes")
    assert list(home.iterdir()) == []


def test_delete_what_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not there is said; it is no failure, and a folder with no file of ours is not removed."""
    (home / "logs").mkdir(parents=True)
    assert run("delete", "--all") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"There is no database in {home}",
        f"There is no certificate in {home / 'certs'}",
        f"There is no key in {home / 'keys'}",
        f"There is no log file in {home / 'logs'}",
    ]
    assert (home / "logs").is_dir()


def test_delete_in_another_root(home: Path, tmp_path: Path) -> None:
    """With a root only what is below it is deleted."""
    fill(home, *MADE)
    fill(tmp_path / "other", *MADE)
    assert run("delete", "-a", "-y", "--root", str(tmp_path / "other")) == 0
    assert left(home) == set(MADE)
    assert left(tmp_path / "other") == set()


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False)])
def test_delete_asks(
    home: Path, say: Callable[[str], None], capsys: pytest.CaptureFixture[str], answer: str, goes: bool
) -> None:
    """It lists the files and asks once for all; only a yes deletes."""
    fill(home, *MADE)
    say(answer)
    assert run("delete", "--all") == 0
    out = capsys.readouterr().out

    assert left(home) == (set() if goes else set(MADE))
    assert [name for name in MADE if f"  {home / name}\n" not in out] == []
    assert f"Delete {len(MADE)} file(s) of {home}? [y/N] " in out
    assert ("Nothing is deleted" in out) is not goes


def test_delete_with_nobody_to_answer(home: Path, say: Callable[[str], None]) -> None:
    """The end of the input is a no, and an error: a script that forgot --yes must notice."""
    fill(home, *MADE)
    say("")
    with pytest.raises(StartError, match=r"nothing is deleted: .*; add --yes"):
        run("delete", "--all")
    assert left(home) == set(MADE)


def test_delete_quietly(home: Path, say: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet leaves the question only, and with --yes nothing."""
    fill(home, *MADE)
    say("n")
    assert run("delete", "-q", "--keys") == 0
    assert capsys.readouterr().out == f"Delete 1 file(s) of {home}? [y/N] "
    assert run("delete", "-q", "-y", "--all") == 0
    assert run("delete", "--quiet", "-y", "--all") == 0
    assert capsys.readouterr() == ("", "")
    assert left(home) == set()


def test_delete_nothing_in_particular(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a choice, one line says what there is to choose, and the status is that of wrong usage."""
    fill(home, *MADE)
    assert run("delete", "--yes") == 2
    captured = capsys.readouterr()
    assert captured.err == "Choose what to delete: --all, --certs, --database, --keys or --logs\n"
    assert captured.out == ""
    assert left(home) == set(MADE)


def test_delete_what_cannot_be_deleted(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be deleted is named with the reason, the others go, and the status is 1."""
    fill(home, *MADE)
    real = Path.unlink

    def unlink(self: Path) -> None:
        if self.suffix == ".sqlite3":
            raise PermissionError(13, "Permission denied")
        real(self)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert run("delete", "-a", "-y", "-q") == 1
    assert capsys.readouterr() == (
        "",
        f"Cannot delete {home / 'manager.sqlite3'}: Permission denied\n",
    )
    assert left(home) == {"manager.sqlite3"}


def test_delete_of_links_and_folders(home: Path, tmp_path: Path) -> None:
    """Of a link the link goes and its target stays; a folder that is named like a file stays."""
    fill(tmp_path, "target")
    (home / "keys" / "folder.key").mkdir(parents=True)
    (home / "keys" / "link.key").symlink_to(tmp_path / "target")
    (home / "keys" / "nowhere.key").symlink_to(tmp_path / "nowhere")
    assert run("delete", "-k", "-y") == 0
    assert [path.name for path in (home / "keys").iterdir()] == ["folder.key"]
    assert (tmp_path / "target").exists()


def test_the_words_of_a_password(tmp_path: Path) -> None:
    """Words are joined; the path of a file means its first line; anything else means itself."""
    (tmp_path / "my secret.txt").write_text("  first wörd \nsecond\n", encoding="utf-8")
    assert join_password(None) is None
    assert join_password(["one"]) == "one"
    assert join_password(["one", "two"]) == "one two"
    assert join_password(["my", "secret.txt"]) == "first wörd"
    assert join_password([str(tmp_path)]) == str(tmp_path)
    assert join_password(["x" * 5000]) == "x" * 5000
    assert join_password(["nul\0"]) == "nul\0"


def test_a_password_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that cannot be read as text is refused by its name, and what is in it is not shown."""
    (tmp_path / "binary").write_bytes(b"secret\xff\xfe")
    with pytest.raises(ConfigError) as info:
        join_password(["binary"])
    assert str(info.value).startswith("binary: the password cannot be read from this file: ")
    assert "secret" not in str(info.value)
