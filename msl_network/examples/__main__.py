"""Starts one of the example Services: ``python -m msl_network.examples Echo``.

Rule of this file: its options are the keywords of :meth:`msl_network.Service.start`. It must not know what the Services
do, except that one of them needs a task.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Final

from msl_network import examples
from msl_network.connecting import PORT
from msl_network.errors import ConnectError
from msl_network.service import Service, filter_service_start_kwargs

__all__ = ["main"]

SERVICES: Final[dict[str, type[Service]]] = {name: getattr(examples, name) for name in examples.__all__}


def main(argv: list[str] | None = None) -> int:
    """Start a Service and serve until Ctrl+C.

    Args:
        argv: The arguments; those of the command line if None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m msl_network.examples", description="Start an example Service.", allow_abbrev=False
    )
    parser.add_argument("service", choices=sorted(SERVICES), help="which one")
    parser.add_argument("--name", help="the name of the Service, in place of its own")
    parser.add_argument("--host", default="localhost", help="the Manager's host name or address (localhost)")
    parser.add_argument("--port", type=int, default=PORT, help=f"the Manager's port ({PORT})")
    parser.add_argument("--timeout", type=float, default=10, help="the longest time to connect, in seconds (10)")
    parser.add_argument("--username", help="the user name; asked for if the Manager wants one")
    parser.add_argument("--password", help="the user's password; asked for if the Manager wants one")
    parser.add_argument("--password-manager", help="the Manager's password; asked for if it wants one")
    parser.add_argument("--disable-tls", action="store_true", help="connect without TLS")
    parser.add_argument("--cert-file", help="the Manager's certificate, if not the one that is stored")
    parser.add_argument(
        "--no-assert-hostname", dest="assert_hostname", action="store_false", help="accept another host's certificate"
    )
    parser.add_argument("--auto-save", action="store_true", help="trust a Manager that is new without asking")
    arguments = vars(parser.parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s [%(levelname)-5s] %(message)s")
    service = SERVICES[arguments["service"]]()
    if isinstance(service, examples.Heartbeat):
        service.add_tasks(service.emit())
    try:
        service.start(**filter_service_start_kwargs(**arguments))
    except (ConnectError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a program
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
