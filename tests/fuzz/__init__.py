"""Inputs that nobody thought of, for everything that reads what others sent.

    python -m tests.fuzz --seconds 60          all targets, for a minute in all
    python -m tests.fuzz wire --seconds 300    one of them
    python -m tests.fuzz wire --input FILE     once more, with what was found

A target (``targets/``) is a function ``check(data)`` that returns if all is well. Atheris looks for bytes that
bring it to code where it was not yet, and starts from the corpus (``corpus/NAME/``). Where there is no atheris,
hypothesis makes the bytes. ``tests/test_fuzz.py`` runs each target over its corpus with neither.
"""
