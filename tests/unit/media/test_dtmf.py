"""Keys in RTP: each is heard once, at its beginning, whatever the network does to its packets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.media.dtmf import KEYS, DtmfReceiver, DtmfSender
from bridge.media.rtp import RtpPacket

Sent = list[tuple[float, RtpPacket]]


def event(key: str, timestamp: int, duration: int = 160, *, end: bool = False, ssrc: int = 1, marker: bool = False) -> RtpPacket:
    payload = bytes([KEYS.index(key), (0x80 if end else 0) | 10]) + duration.to_bytes(2, "big")
    return RtpPacket(101, marker, 0, timestamp, ssrc, payload)


def send(keys: str) -> Sent:
    """What a sender makes of *keys*, with the time of each packet."""
    sender, step = DtmfSender(), 0
    sent: Sent = []
    sender.press(keys)
    while sender.busy:
        for payload, marker in sender.step(5000 + step * 160):
            sent.append((step * 0.02, RtpPacket(101, marker, len(sent), sender.started, 1, payload)))
        step += 1
    return sent


def hear(sent: Sent, receiver: DtmfReceiver | None = None) -> str:
    receiver = receiver or DtmfReceiver()
    return "".join(receiver.receive(packet, now=now) or "" for now, packet in sent)


def test_a_key_is_held_100_ms_and_ends_three_times() -> None:
    """RFC 4733 section 2.5.1: one timestamp, rising duration, marker first, three ends."""
    packets = [packet for _, packet in send("5")]

    assert [packet.payload.hex() for packet in packets] == ["050a00a0", "050a0140", "050a01e0", "050a0280"] + ["058a0320"] * 3
    assert {packet.timestamp for packet in packets} == {5000}
    assert [packet.marker for packet in packets] == [True] + [False] * 6


@given(st.text(KEYS, max_size=8))
def test_keys_are_heard_as_they_were_pressed(keys: str) -> None:
    """Also the same key twice."""
    assert hear(send(keys)) == keys


@given(st.text(KEYS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_one_packet_of_each_key_is_enough(keys: str, dice: random.Random) -> None:
    """Lost starts, lost ends, no marker; repeated packets do no harm."""
    by_key: dict[int, Sent] = {}
    for now, packet in send(keys):
        by_key.setdefault(packet.timestamp, []).append((now, packet))
    left: Sent = []
    for packets in by_key.values():
        left += sorted(dice.choices(packets, k=dice.randint(1, 9)), key=lambda sent: sent[0])

    assert hear(left) == keys


def test_a_packet_that_comes_late_is_not_a_new_key() -> None:
    """The end of one key after the beginning of the next."""
    one, two = send("1"), [(now + 0.2, packet) for now, packet in send("2")]
    moved = [(now, RtpPacket(101, False, 0, packet.timestamp + 1600, 1, packet.payload)) for now, packet in two]

    assert hear([*one[:-1], moved[0], one[-1], *moved[1:]]) == "12"


def test_a_very_long_key_is_one_key() -> None:
    """RFC 4733 section 2.5.1.3: after 0xFFFF ticks it goes on in a new segment."""
    held = [(n * 0.02, event("5", 1000, min(n * 160, 0xFFFF))) for n in range(1, 411)]
    more = [(8.2 + n * 0.02, event("5", 1000 + 0xFFFF, n * 160, end=n == 9)) for n in range(1, 10)]

    assert hear(held + more) == "5"


def test_a_creeping_timestamp_is_one_key() -> None:
    """Some gateways move it with every packet; after the end bit the same key is a new one."""
    crept = [(n * 0.02, event("5", 1000 + n * 160, end=n == 4)) for n in range(5)]

    assert hear(crept) == "5"
    assert hear([*crept, (0.2, event("5", 1960))]) == "55"


def test_a_replayed_recording_is_a_new_key_when_time_has_passed() -> None:
    """The same timestamps again, half a second after the end."""
    played = send("5")
    receiver = DtmfReceiver()

    assert hear(played, receiver) == "5"
    assert hear([(now + 0.3, packet) for now, packet in played], receiver) == ""
    assert hear([(now + 2.0, packet) for now, packet in played], receiver) == "5"


def test_another_source_presses_keys_of_its_own() -> None:
    """The same timestamp from a new SSRC is a new key."""
    assert hear([(0.0, event("5", 1000)), (0.1, event("5", 1000, ssrc=2))]) == "55"


def test_old_keys_are_forgotten() -> None:
    """Only a few timestamps are kept."""
    assert hear([(n * 1.0, event("5", n * 8000, end=True)) for n in range(40)]) == "5" * 40


@pytest.mark.parametrize("payload", [b"", b"\x05\x0a\x00", b"\x10\x0a\x00\xa0", b"\xff\xff\xff\xff"])
def test_what_is_no_key_is_passed_over(payload: bytes) -> None:
    """Short blocks, and events that are tones of a line and not keys."""
    assert DtmfReceiver().receive(RtpPacket(101, True, 0, 0, 1, payload), now=0.0) is None


def test_what_is_no_key_cannot_be_pressed() -> None:
    """Nothing of it is sent, small letters are."""
    sender = DtmfSender()
    with pytest.raises(ValueError, match="substring"):
        sender.press("1x")
    assert not sender.busy
    assert sender.step(0) == []
    sender.press("a")
    assert sender.busy


@given(st.lists(st.binary(max_size=6), max_size=30))
def test_no_payload_breaks_the_receiver(payloads: list[bytes]) -> None:
    """Any bytes give a key or nothing."""
    receiver = DtmfReceiver()
    for n, payload in enumerate(payloads):
        receiver.receive(RtpPacket(101, False, n, n * 7, 1, payload), now=float(n))
