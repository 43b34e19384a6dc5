"""RTP packets and streams."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.media.rtp import IncomingStream, OutgoingStream, RtpPacket, pack, parse, sequence_ahead

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
types = st.integers(0, 127).filter(lambda number: not 64 <= number <= 95)


def packet(sequence: int, timestamp: int = 0, ssrc: int = 7, payload: bytes = b"x" * 160) -> RtpPacket:
    return RtpPacket(0, False, sequence, timestamp, ssrc, payload)


def read(data: bytes) -> RtpPacket:
    found = parse(data)
    assert found is not None
    return found


@given(types, u16, u32, u32, st.binary(max_size=200), st.booleans())
def test_reading_undoes_packing(kind: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool) -> None:
    """Every field comes back."""
    data = pack(kind, sequence, timestamp, ssrc, payload, marker=marker)

    assert parse(data) == RtpPacket(kind, marker, sequence, timestamp, ssrc, payload)


@given(
    st.lists(u32, max_size=15),
    st.none() | st.lists(u32, max_size=5),
    st.integers(0, 20),
    types,
    st.booleans(),
    st.binary(max_size=50),
)
def test_what_is_optional_is_skipped(
    sources: list[int], extension: list[int] | None, padding: int, kind: int, marker: bool, payload: bytes
) -> None:
    """Contributing sources, a header extension and padding (RFC 3550 section 5.1)."""
    first = 0x80 | len(sources) | (0x10 if extension is not None else 0) | (0x20 if padding else 0)
    head = bytes([first, kind | marker << 7]) + pack(0, 5, 6, 7, b"")[2:]
    more = b"".join(word.to_bytes(4, "big") for word in sources)
    if extension is not None:
        more += b"\xbe\xde" + len(extension).to_bytes(2, "big") + b"".join(word.to_bytes(4, "big") for word in extension)
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""

    assert parse(head + more + payload + tail) == RtpPacket(kind, marker, 5, 6, 7, payload)


def test_what_is_no_rtp_is_refused() -> None:
    """Too short, another version, RTCP, and lengths that lie."""
    head = pack(0, 1, 2, 3, b"")
    assert parse(head[:11]) is None
    assert parse(b"\x00" + head[1:]) is None
    assert parse(bytes([0x80, 200]) + head[2:]) is None
    assert parse(bytes([0x81, 72]) + head[2:]) is None
    assert parse(bytes([0x90]) + head[1:]) is None
    assert parse(bytes([0x8F]) + head[1:]) is None
    assert parse(bytes([0xA0]) + head[1:] + b"\x00") is None
    assert parse(bytes([0xA0]) + head[1:] + b"\x09") is None


@given(st.binary(max_size=60))
def test_no_datagram_breaks_the_reader(data: bytes) -> None:
    """Any bytes are RTP or None."""
    parse(data)


def test_frames_of_our_own_count_on() -> None:
    """Sequence and timestamp wrap, silence may be skipped, a key does not move the sound's clock."""
    stream = OutgoingStream(9, 0xFFFF, 0xFFFFFFFF - 159)
    first = read(stream.frame(0, b"a", 160, marker=True))
    stream.skip(160)
    key = read(stream.event(101, b"k", 77))
    second = read(stream.frame(0, b"b", 160))

    assert (first.sequence, first.timestamp, first.marker) == (0xFFFF, 0xFFFFFFFF - 159, True)
    assert (key.sequence, key.timestamp, key.payload_type) == (0, 77, 101)
    assert (second.sequence, second.timestamp) == (1, 160)


def test_a_relayed_source_goes_on_where_we_were() -> None:
    """One SSRC towards the listener, marked at the change, gaps and order of the source kept."""
    stream = OutgoingStream(9, 100, 1000)
    stream.frame(0, b"", 160)
    sent = [read(stream.relay(packet(n, n * 160), 8, b"y" * 160, 160)) for n in (500, 501, 503, 502)]

    assert [(p.sequence, p.timestamp) for p in sent] == [(101, 1160), (102, 1320), (104, 1640), (103, 1480)]
    assert [p.marker for p in sent] == [True, False, False, False]
    assert {(p.ssrc, p.payload_type) for p in sent} == {(9, 8)}
    back = read(stream.frame(0, b"", 160))
    assert (back.sequence, back.timestamp) == (105, 1800)


def test_a_new_source_starts_a_new_stretch() -> None:
    """Another SSRC, or the same one after a break, is joined on without a jump."""
    stream = OutgoingStream(9, 0, 0)
    stream.relay(packet(10, 100, ssrc=1), 0, b"", 160)
    other = read(stream.relay(packet(9000, 5, ssrc=2), 0, b"", 160))
    stream.forget_source()
    again = read(stream.relay(packet(3, 3, ssrc=2), 0, b"", 160))

    assert (other.sequence, other.timestamp, other.marker) == (1, 160, True)
    assert (again.sequence, again.timestamp, again.marker) == (2, 320, True)


def test_a_relayed_key_keeps_the_clock() -> None:
    """Its timestamp is shifted like the sound's and nothing else moves."""
    stream = OutgoingStream(9, 0, 0)
    stream.relay(packet(1, 1600), 0, b"", 160)
    key = read(stream.relay(packet(2, 1440), 101, b"k", 0))
    sound = read(stream.relay(packet(3, 1760), 0, b"", 160))

    assert (key.sequence, key.timestamp) == (1, 0xFFFFFFFF - 159)
    assert (sound.sequence, sound.timestamp) == (2, 160)


def test_losses_are_counted_and_taken_back() -> None:
    """A late packet was not lost; a new source starts anew."""
    stream = IncomingStream()
    new = [stream.receive(packet(n)) for n in (65534, 65535, 2, 0)]
    assert new == [True, False, False, False]
    assert (stream.received, stream.lost) == (4, 1)
    assert stream.receive(packet(9, ssrc=8))
    stream.receive(packet(9, ssrc=8))
    assert stream.lost == 1


@given(u16, st.integers(-32768, 32767))
def test_distance_undoes_stepping(start: int, step: int) -> None:
    """In both directions around the wrap."""
    assert sequence_ahead((start + step) & 0xFFFF, start) == step
