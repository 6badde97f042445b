"""Any cutting of any bytes gives the same lines as a plain split, and no more is kept than the limit allows."""

from __future__ import annotations

from msl_network.wire import LineBuffer, line_end


def check(data: bytes) -> None:
    """The first byte is the limit; the network cuts where 0xff stands."""
    limit = data[0] if data else 0
    pieces = [piece for piece in data[1:].split(b"\xff") if piece]
    buffer = LineBuffer(limit)
    lines = []
    for piece in pieces:
        lines += buffer.feed(piece)
        assert buffer.held <= limit
        assert not (buffer.overflow and buffer.held)
    *complete, rest = b"".join(pieces).split(b"\n")
    too_long = [len(line) > limit for line in [*complete, rest]]
    assert buffer.overflow is (True in too_long)
    assert lines == (complete[: too_long.index(True)] if buffer.overflow else complete)
    assert buffer.overflow or buffer.held == len(rest)
    assert all(line + line_end(line) == line.removesuffix(b"\r") + b"\r\n" for line in lines)
