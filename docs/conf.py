"""How Sphinx builds the documentation: python -m sphinx -n -W --keep-going -b html docs build/site.

Rule of this file: a page is as it is read in the repository. What a site needs besides is done here, while it is read:
what stands in the root of the repository becomes a page, links to other files become downloads, and a block that is a
file gets its name.

It must not know what any page says.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))  # for the list of what is public

from sphinx.addnodes import desc_signature

import msl_network
from tests.public_names import GIVEN, public_classes

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "msl-network-manager"
author = "The msl-network-manager founders"
project_copyright = "the msl-network-manager founders, MIT licence"
version = release = metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # links name headings as a repository's pages do
default_role = "literal"  # docstrings have names between single backquotes, too

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]  # lines of code have up to 120 characters
toc_object_entries_show_parents = "hide"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: f"msl_network.{name}" for name in ("Duration", "File", "Size")}
python_use_unqualified_type_names = True
maximum_signature_line_length = 90


# Pages

PAGES = {"readme": "README.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
"""The pages that are files of the root: each stands in docs/ as one line that says so."""

CAPTIONS = {"terminal": "a terminal that stays open", "signature": ""}
"""Of blocks that are no files."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
BLOCK = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make a page of the site of one of the repository."""
    folder = (DOCS / docname).parent
    if docname in PAGES:
        file = ROOT / PAGES[docname]
        app.env.note_dependency(str(file))
        source[0] = file.read_text(encoding="utf-8")

    def link(match: re.Match[str]) -> str:
        target = ((ROOT if docname in PAGES else folder) / match[0]).resolve()
        if not target.exists():  # it is no link, but code
            return match[0]
        for page, name in PAGES.items():
            if target == ROOT / name:
                target = DOCS / f"{page}.md"
        return Path(os.path.relpath(target, folder)).as_posix()

    def block(match: re.Match[str]) -> str:
        caption = CAPTIONS.get(match[2], match[2])
        return f"```{{code-block}} {match[1]}\n:caption: {caption}" if caption else f"```{match[1]}"

    source[0] = BLOCK.sub(block, LINK.sub(link, source[0]))


# Docstrings


def is_given(name: str) -> bool:
    """Tell whether objects of a class are given to people, who make none."""
    return name.rpartition(".")[2] in GIVEN


def shorten(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show no default as an object, and no arguments of a class whose objects nobody but this package makes."""
    if what == "class" and (is_given(name) or getattr(obj, "_is_protocol", False)):
        return "", None
    return signature and re.sub(r"<[^<>]*>", "...", signature), returned


def leave_out_private(app: Sphinx, name: str, obj: type, options: object, bases: list[type]) -> None:
    """Do not name a base class that is not public."""
    bases[:] = [base for base in bases if base in public_classes() or not base.__module__.startswith("msl_network")]


def prepare(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Leave out those arguments. And take what stands before a colon for text: annotations have the types."""
    if what == "class" and is_given(name) and "Args:" in lines:
        del lines[lines.index("Args:") :]  # they are the last of all
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # a comment: napoleon looks for a type in the first line


# References

nitpick_ignore = [  # a build must not need the network, so there is no inventory of these
    ("py:class", "concurrent.futures.Future"),
    ("py:class", "logging.Handler"),
    ("py:class", "msgspec.Struct"),
    ("py:exc", "paramiko.AuthenticationException"),
    ("py:exc", "paramiko.BadHostKeyException"),
    ("py:exc", "paramiko.SSHException"),
    ("py:func", "shlex.quote"),
]


def find(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Find a public name by its last part: an annotation has it from the module that it lives in.

    In a signature, what is not found is no link. It cannot be misspelt, because mypy has read it.
    """
    if node["refdomain"] != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    found = None
    if name in msl_network.__all__:
        domain = env.domains.python_domain
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"msl_network.{name}", node, content)
    return found or (content if is_in_signature(node) else None)


def is_in_signature(node: nodes.Node) -> bool:
    """Tell whether a reference is part of a signature."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, desc_signature):
            return True
    return False


def setup(app: Sphinx) -> None:
    """Register all of them."""
    app.connect("source-read", read)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-bases", leave_out_private)
    app.connect("autodoc-process-docstring", prepare, priority=100)  # before napoleon
    app.connect("missing-reference", find)
