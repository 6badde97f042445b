from __future__ import annotations

import argparse

import pytest

from msl_network.cli import main
from msl_network.cli_help import HelpFormatter


@pytest.mark.parametrize("words", [["plugin", "new"], ["reload"], ["start"], ["plugins"], ["certgen"]])
def test_sentences_are_wrapped(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The description of a command fits into a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    _, description, *_ = capsys.readouterr().out.split("\n\n")
    assert description.strip()
    assert max(map(len, description.split("\n"))) < 80


def test_examples_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of several lines keeps them, however long they are."""
    monkeypatch.setenv("COLUMNS", "40")
    examples = "examples:\n  msl-network " + "x " * 60 + "y"
    sentence = "One word after the other, until there is no more room."
    parser = argparse.ArgumentParser(description=sentence, epilog=examples, formatter_class=HelpFormatter)
    text = parser.format_help()
    assert text.endswith(examples + "\n")
    (described,) = [part for part in text.split("\n\n") if part.startswith("One word")]
    assert described.replace("\n", " ") == sentence
    assert described.count("\n") == 1
