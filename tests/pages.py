"""The pages of the documentation, cut into blocks, and the terminals in which a reader tries them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE = 30.0


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(page, *match) for match in FENCE.findall(page.read_text(encoding="utf-8"))]


class Terminals:
    """Runs console blocks as a reader would: one after the other, and some in terminals that stay open.

    What is called `terminal` stays open, until ``^C`` is typed there. What is called `office-pc` runs on another
    computer: it has another home.

    Args:
        folder: Where files and commands of the page live.
        port: What stands for the port of the page.
        programs: Further commands, and what Python is to do for each.
    """

    def __init__(self, folder: Path, port: int, **programs: str) -> None:
        self.folder = folder
        self.port = port
        self.running: list[tuple[subprocess.Popen[str], Path]] = []
        folder_of_programs = folder / "bin"
        folder_of_programs.mkdir()
        # `msl-network` must be ours, although the environment has that of 1.0, too
        for name, words in {"msl-network": "-m msl_network", "python": "", **programs}.items():
            program = folder_of_programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        path = f"{folder_of_programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    def adapt(self, text: str) -> str:
        text = re.sub("(lab|office)-pc", socket.gethostname(), text).replace("1875", str(self.port))
        text = text.replace("auto_save=True", f"auto_save=True, port={self.port}")
        text = re.sub(r"(\b(?:connect|AsyncClient)|\.start)\(\)", rf"\1(port={self.port})", text)
        return re.sub(
            r"((msl-network|msl\.network\.cli) start( --auth-login)?|msl_network\.examples \w+)$",
            rf"\1 --port {self.port}",
            text,
            flags=re.MULTILINE,
        )

    def write(self, block: Block) -> None:
        text = self.adapt(block.text)
        if block.language == "toml":
            text = text.replace("[manager]\n", f"[manager]\nport = {self.port}\n")
        (self.folder / block.title).write_text(text, encoding="utf-8")

    def run(self, block: Block) -> None:
        if block.title == "terminal" and block.text == "^C\n":
            self.close()
            self.running.clear()
            return
        command, _, expected = self.adapt(block.text).partition("\n")
        assert command.startswith("$ ")
        assert "\n$ " not in expected, "one command a block"
        if block.title == "terminal":
            self.stay(command[2:], expected)
            return
        typed = "y\n" if " y/n: y\n" in expected else ""
        expected = expected.replace(" y/n: y\n", " y/n: ")
        elsewhere = {"MSL_NETWORK_HOME": str(self.folder / block.title)} if block.title else {}
        done = subprocess.run(
            ["bash", "-c", command[2:]],
            cwd=self.folder,
            env=self.environment | elsewhere,
            input=typed,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(pattern(expected), done.stdout), f"{command}\n{done.stdout}\n{done.stderr}"

    def stay(self, command: str, expected: str) -> None:
        log = self.folder / f"terminal-{len(self.running)}.txt"
        with log.open("w") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running.append((process, log))
        expected = re.sub(r"^\S+ \S+ \[", "... [", expected, flags=re.MULTILINE)  # the time is another one
        expected = re.sub(r"have \d+ open files", "have ... open files", expected)  # and so is the system
        wanted = pattern(re.sub(r"manager-[\d-]+", "manager-...", expected))
        # the Manager comes first, and tells of the Services that follow; that of 1.0 in words of its own
        manager = self.running[0][1]
        services = r"is (connected as a service|a new Service connection)(.|\n)*" * (len(self.running) - 1)
        deadline = time.monotonic() + DEADLINE
        while not re.search(services or wanted, manager.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, manager.read_text()
            os.sched_yield()

    def close(self) -> None:
        for process, log in reversed(self.running):
            process.send_signal(signal.SIGINT)
            process.wait(timeout=DEADLINE)
            assert "Traceback" not in log.read_text(), log.read_text()


def pattern(expected: str) -> str:
    return re.escape(expected).replace(r"\.\.\.", ".*")
