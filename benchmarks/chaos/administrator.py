"""The administrator in a chaos run: adds users and trusted host names, looks at them, and removes them again.

Rule of this file: what was confirmed must be there, and what was removed must not. It must not know what else goes on,
except that the database may be locked for a while.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from msl_network import CallTimeoutError, ConnectionLostError, RemoteError, connect
from msl_network.errors import ConnectError

from .part import in_threads

if TYPE_CHECKING:
    from msl_network import Client

    from .part import Part

__all__ = ["run"]

BREAK: Final = 0.5
"""How long the administrator does nothing between requests, in seconds, on average."""

LOCKED: Final = ("OSError: ", "locked")
"""What begins, and what is in, the message of the error if another program has locked the database."""


class Administrator:
    """One administrator, who comes back whenever the connection has ended.

    Args:
        part: What the process is for.
        name: The name of the client.
    """

    def __init__(self, part: Part, name: str) -> None:
        self.part = part
        self.name = name
        self.orders = part.orders
        self.report = part.report
        self.random = part.chance()
        self.number = 0
        self.has_settled = False
        self.came = ("", "")
        """Between which times it connected."""

    def run(self) -> None:
        """Connect, ask for things, and do it again, until the end."""
        keywords = {**self.part.direct.keywords(), **self.part.options["administrator"]}
        while not self.orders.stop.is_set():
            before = time.time()
            try:
                client = connect(name=self.name, **keywords)
            except ConnectError as error:
                self.report.count("a client could not connect")
                self.report.claim("refused", "Manager", f"{self.name} ({error})")
                self.orders.pause(0.3)
                continue
            self.came = (shown(before - 1), shown(time.time() + 1))
            try:
                self.stay(client)
            except ConnectionLostError as error:
                self.report.claim("lost", "Manager", f"{self.name} ({error})")
            finally:
                client.disconnect()

    def stay(self, client: Client) -> None:
        """Ask for things, until the end."""
        while not self.orders.stop.is_set():
            if not self.has_settled:
                is_done = self.random.choice([self.user, self.hostname, self.records])(client)
                if self.orders.settle.is_set() and is_done:
                    self.has_settled = True
                    self.report.done(self.name)
            self.orders.pause(self.random.expovariate(1 / BREAK))

    def user(self, client: Client) -> bool:
        """Add a user and remove it again; return whether all was done."""
        self.number += 1
        user = f"{self.name} {self.number}"
        return (
            bool(self.ask(client, "users_table.insert", user, "a password", False))
            and self.expect(True, client, "users_table.is_user_registered", user)
            and self.expect(False, client, "users_table.is_admin", user)
            and bool(self.ask(client, "users_table.delete", user))
            and self.expect(False, client, "users_table.is_user_registered", user)
        )

    def hostname(self, client: Client) -> bool:
        """Add a trusted host name and remove it again; return whether all was done."""
        self.number += 1
        name = f"host{self.number}.{self.name}".lower()
        if not self.ask(client, "hostnames_table.insert", name):
            return False
        if not self.holds(lambda names: name in names, client, "hostnames_table.hostnames"):
            return False
        if not self.ask(client, "hostnames_table.delete", name):
            return False
        return self.holds(lambda names: name not in names, client, "hostnames_table.hostnames")

    def records(self, client: Client) -> bool:
        """Look at the records of the moment at which we came: our own connection is among them."""
        start, end = self.came
        port = str(client.port)
        return self.holds(
            lambda records: port in str(records), client, "connections_table.connections", start=start, end=end
        )

    def expect(self, value: object, client: Client, attribute: str, *args: Any) -> bool:
        """Ask for something that must have a value; return whether there was an answer."""
        return self.holds(lambda found: found == value, client, attribute, *args)

    def holds(self, check: Any, client: Client, attribute: str, *args: Any, **kwargs: Any) -> bool:
        """Ask for something that must be right; return whether there was an answer."""
        found = self.ask(client, attribute, *args, **kwargs)
        if found and not check(found[0]):
            self.report.problem("wrong", f"{self.name}: {attribute}{args} is {str(found[0])[:300]}")
        return bool(found)

    def ask(self, client: Client, attribute: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Ask for something; return the answer in a list, which is empty if there is none."""
        try:
            result = client.admin_request(attribute, *args, timeout=self.part.bound, **kwargs)
        except RemoteError as error:
            message: str = error.args[0]
            if message.startswith(LOCKED[0]) and LOCKED[1] in message:
                self.report.count("error: database locked")
                self.report.claim("database", "database", self.name)
            else:
                self.report.problem("wrong", f"{self.name}: {attribute}{args} is answered with {message[:300]}")
        except CallTimeoutError as error:
            self.report.problem("lost", f"{self.name}: {error}")
        else:
            self.report.count("administrator requests")
            return [result]
        return []


def shown(seconds: float) -> str:
    """Return a time as the Manager reads and writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def run(part: Part) -> None:
    """Be so many administrators, until the end.

    Args:
        part: What the process is for.
    """
    in_threads(part, {name: Administrator(part, name).run for name in part.names()})
