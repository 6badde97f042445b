"""One target per file, named after what it tests."""
