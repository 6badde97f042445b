"""The tests; a package so that test modules share `wire_peer`."""
