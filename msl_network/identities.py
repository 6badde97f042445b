"""The identities of all that are connected, as a text for people.

Rule of this file: the text has the form that MSL-Network 1.0 gives it; scripts look into it. It must not know where the
identities come from.
"""

from __future__ import annotations

from typing import Any

__all__ = ["identities_text"]


def identities_text(identity: dict[str, Any], indent: int) -> str:
    """Return a text.

    Args:
        identity: The answer of a Manager to ``identity``.
        indent: How many spaces each level is indented by.
    """
    space = " " * indent
    lines = [f"Manager[{identity['hostname']}:{identity['port']}]"]
    for key, value in sorted(identity.items()):
        if key == "attributes":
            lines.append(f"{space}attributes:")
            lines += [f"{space * 2}{name}{signature}" for name, signature in sorted(value.items())]
        elif key not in {"clients", "services", "hostname", "port"}:
            lines.append(f"{space}{key}: {value}")
    clients = identity["clients"]
    lines.append(f"Clients [{len(clients)}]:")
    for name, client in sorted(clients.items()):
        lines.append(f"{space}{name}")
        lines += [f"{space * 2}{key}: {client[key]}" for key in sorted(client.keys() - {"name", "address"})]
    services = identity["services"]
    lines.append(f"Services [{len(services)}]:")
    for name, service in sorted(services.items()):
        lines.append(f"{space}{name}[{service['address']}]")
        for key, value in sorted(service.items()):
            if key == "attributes":
                lines.append(f"{space * 2}attributes:")
                lines += [f"{space * 3}{_attribute(*item)}" for item in sorted(value.items())]
            elif key != "address":
                lines.append(f"{space * 2}{key}: {value}")
    return "\n".join(lines)


def _attribute(name: str, value: object) -> str:
    if isinstance(value, str) and value.startswith("("):
        return f"{name}{value}"
    return f"{name}() -> {value}"  # a property or a constant
