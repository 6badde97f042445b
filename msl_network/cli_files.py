"""The commands that make, show and delete the files of the Manager: keygen, certgen, certdump, delete.

Rule of this file: a command parses its words, calls one function of the package, and prints what came of
it. What goes wrong is raised as a :class:`~msl_network.errors.StartError`; the command line as a whole
(:mod:`msl_network.cli`) prints it.

It must not know how a key or a certificate is made, nor import anything slow: these parsers are built
whenever ``msl-network`` runs.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msl_network import certificates, paths
from msl_network.cli_help import HelpFormatter
from msl_network.config import secret_words
from msl_network.errors import CertificateError, StartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["add_commands", "certdump", "certgen", "delete", "join_password", "keygen"]

WORDS_HELP = (
    "Several words are joined by spaces. If it is the path of a file, the first line of the file is the "
    "password, which keeps it out of the history of the terminal."
)

# option, noun for one, folder below the root, and which names in it the Manager itself makes. The journals
# go with the database: SQLite would play what is left in them into a new one.
DELETABLE = (
    (
        "database",
        "database",
        "",
        ("manager.sqlite3", "manager.sqlite3-wal", "manager.sqlite3-shm", "manager.sqlite3-journal"),
    ),
    ("certs", "certificate", "certs", ("*.crt",)),
    ("keys", "key", "keys", ("*.key",)),
    ("logs", "log file", "logs", ("*.log",)),
)


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this file to the command line.

    Args:
        subparsers: Where ``msl-network`` collects its commands. Each sets ``run``, a function that takes the
            parsed arguments and returns the exit status.
    """
    _add_keygen(subparsers)
    _add_certgen(subparsers)
    _add_certdump(subparsers)
    _add_delete(subparsers)


def keygen(args: argparse.Namespace) -> int:
    """Make a private key."""
    path = paths.key_file() if args.out is None else Path(args.out)
    replaces = path.exists()
    password = join_password(args.password)
    certificates.generate_key(path, algorithm=args.algorithm, curve=args.curve, size=args.size, password=password)
    encrypted = "encrypted " if password else ""
    print(f"Created the {encrypted}{args.algorithm.upper()} key {path}")
    if replaces:
        print("It replaced the key that was there. Certificates made from that one need it no more:")
        print(f"  msl-network certgen --key-file {path}")
    if args.algorithm == "dsa":
        print("Note that TLS clients accept no DSA any more: the Manager cannot start with this key.")
    return 0


def certgen(args: argparse.Namespace) -> int:
    """Make a self-signed certificate."""
    path = paths.cert_file() if args.out is None else Path(args.out)
    password = join_password(args.key_file_password)
    if args.key_file is not None:
        key_file = Path(args.key_file)
    else:
        key_file = paths.key_file()
        if not key_file.exists():
            certificates.generate_key(key_file, password=password)
            print(f"Created the ECC key {key_file}")
    replaces = path.exists()
    certificates.generate_certificate(
        path,
        key_file=key_file,
        key_file_password=password,
        algorithm=args.algorithm,
        years_valid=args.years_valid,
    )
    print(f"Created the certificate {path}")
    if replaces:
        print("It replaced the certificate that was there: clients that saved that one must fetch it anew.")
    if args.show:
        print()
        print(certificates.describe_certificate(path))
    return 0


def certdump(args: argparse.Namespace) -> int:
    """Show what a certificate says."""
    path = paths.cert_file() if args.certfile is None else Path(args.certfile)
    text = f"Certificate: {path}\n{certificates.describe_certificate(path)}"
    if args.out is None:
        print(text)
        return 0
    out = Path(args.out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise CertificateError(f"{out}: cannot be written: {reason}; choose another place") from error
    print(f"Wrote the details of {path} to {out}")
    return 0


def delete(args: argparse.Namespace) -> int:
    """Delete files that the Manager made, after asking."""
    chosen = [entry for entry in DELETABLE if args.all or getattr(args, entry[0])]
    if not chosen:
        print("Choose what to delete: --all, --certs, --database, --keys or --logs", file=sys.stderr)
        return 2
    say = _silent if args.quiet else print
    root = paths.home() if args.root is None else Path(args.root)

    files: list[Path] = []
    for _, noun, folder, patterns in chosen:
        found = _find(root / folder, patterns)
        files += found
        if not found:
            say(f"There is no {noun} in {root / folder}")
    if not files:
        return 0
    if not args.yes:
        for path in files:
            say(f"  {path}")
        if not _confirmed(f"Delete {len(files)} file(s) of {root}? [y/N] "):
            say("Nothing is deleted")
            return 0

    deleted = [path for path in files if _unlink(path)]
    for path in deleted:
        say(f"Deleted {path}")
    for emptied in {path.parent for path in deleted} - {root}:
        # a folder with anything else in it stays
        with contextlib.suppress(OSError):
            emptied.rmdir()
    return 0 if deleted == files else 1


def join_password(words: Sequence[str] | None) -> str | None:
    """Return the password that the words of an option mean.

    Args:
        words: The words; None if the option was not given.

    Returns:
        The words joined by spaces; if that is the path of a file, the first line of it, without the white
        space around it.

    Raises:
        ConfigError: If the file cannot be read.
    """
    return None if words is None else secret_words(words)


def _silent(_: str) -> None:
    """Say nothing."""


def _find(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    # of a symbolic link the link is deleted, and so it counts even if it leads nowhere
    return [path for path in found if path.is_file() or path.is_symlink()]


def _confirmed(question: str) -> bool:
    try:
        answer = input(question)
    except EOFError as error:
        print()
        raise StartError("nothing is deleted: nobody is there to answer; add --yes") from error
    return answer.strip().lower() in {"y", "yes"}


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except OSError as error:
        print(f"Cannot delete {path}: {error.strerror or error}", file=sys.stderr)
        return False
    return True


def _add_keygen(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    default = f"{certificates.DEFAULT_ALGORITHM}, on the curve {certificates.DEFAULT_CURVE}"
    parser = subparsers.add_parser(
        "keygen",
        help="make a private key",
        description="Make a private key: what proves that a certificate is the Manager's own.",
        epilog="""\
examples:
  an elliptic-curve key in the default place
    msl-network keygen

  an RSA key that is encrypted with the password in a file
    msl-network keygen rsa --size 3072 --password secret.txt --out lab.key
""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "algorithm",
        nargs="?",
        type=str.lower,
        choices=("rsa", "dsa", "ecc"),
        default=certificates.DEFAULT_ALGORITHM,
        help=f"The kind of key (default: {default}). DSA is of no use for TLS any more.",
    )
    parser.add_argument(
        "-c",
        "--curve",
        default=certificates.DEFAULT_CURVE,
        help=f"The elliptic curve of an ECC key: {', '.join(certificates.CURVES)} (default: %(default)s).",
    )
    parser.add_argument(
        "-p",
        "--password",
        nargs="+",
        help=f"Encrypt the key with this password (default: not encrypted). {WORDS_HELP}",
    )
    parser.add_argument("-o", "--out", help="The file to write (default: keys/localhost.key in the Manager's folder).")
    parser.add_argument(
        "-s",
        "--size",
        type=int,
        default=certificates.DEFAULT_SIZE,
        help="The size of an RSA or DSA key in bits, 2048 or more (default: %(default)s).",
    )
    parser.set_defaults(run=keygen)


def _add_certgen(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "certgen",
        help="make a self-signed certificate",
        description=(
            "Make a self-signed certificate for the hostname and the addresses of this computer. "
            "Clients save it when they first connect, and from then on know the Manager by it."
        ),
        epilog="""\
examples:
  the default certificate, from the default key
    msl-network certgen

  a certificate for the next half year, from a key of yours; show what it says
    msl-network certgen --key-file lab.key --years-valid 0.5 --show lab.crt
""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "out", nargs="?", help="The file to write (default: certs/localhost.crt in the Manager's folder)."
    )
    parser.add_argument(
        "-a",
        "--algorithm",
        default=certificates.DEFAULT_HASH,
        help=f"The hash to sign with: {', '.join(certificates.HASHES)} (default: %(default)s).",
    )
    parser.add_argument(
        "-k",
        "--key-file",
        help="The private key to sign with (default: keys/localhost.key, made now if it is missing).",
    )
    parser.add_argument(
        "-p",
        "--key-file-password",
        nargs="+",
        help=f"The password of an encrypted private key. {WORDS_HELP}",
    )
    parser.add_argument(
        "-y",
        "--years-valid",
        type=float,
        default=certificates.YEARS_VALID,
        help="How many years the certificate is valid; 0.25 means three months (default: %(default)s).",
    )
    parser.add_argument("--show", action="store_true", help="Also show what the new certificate says.")
    parser.set_defaults(run=certgen)


def _add_certdump(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "certdump",
        help="show what a certificate says",
        description="Show the names, dates, key, extensions and fingerprints of a certificate.",
        epilog="""\
examples:
  the certificate that the Manager shows by default
    msl-network certdump

  any certificate, into a text file
    msl-network certdump lab.crt --out lab.txt
""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("certfile", nargs="?", help="The certificate, a PEM file (default: the Manager's default one).")
    parser.add_argument("-o", "--out", help="The file to write to, in place of the terminal.")
    parser.set_defaults(run=certdump)


def _add_delete(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "delete",
        help="delete files that the Manager made",
        description=(
            "Delete the database, certificates, keys or logs of the Manager. It lists the files and asks "
            "first; other files are never touched. The Manager should not be running."
        ),
        epilog="""\
examples:
  the logs, without a question
    msl-network delete --logs --yes

  everything in the folder of another Manager
    msl-network delete --all --root /srv/lab
""",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("-a", "--all", action="store_true", help="All of the following.")
    parser.add_argument("-c", "--certs", action="store_true", help="The certificates.")
    parser.add_argument("-d", "--database", action="store_true", help="The database, with all users in it.")
    parser.add_argument("-k", "--keys", action="store_true", help="The private keys.")
    parser.add_argument("-l", "--logs", action="store_true", help="The log files.")
    parser.add_argument("-r", "--root", help="The folder to look in (default: the Manager's folder).")
    parser.add_argument("-q", "--quiet", action="store_true", help="Print errors and the question only.")
    parser.add_argument("-y", "--yes", action="store_true", help="Do not ask.")
    parser.set_defaults(run=delete)
