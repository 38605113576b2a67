"""Frames on the host's side: what is sent is read back, and nothing else is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.link.protocol import ESCAPE, FLAG, MAX_FRAME, Frame, FrameReader, encode_frame

frames = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=MAX_FRAME - 6))


@given(st.lists(frames, max_size=4), st.integers(1, 50))
def test_frames_are_read_back_in_any_pieces(sent: list[Frame], size: int) -> None:
    data = b"".join(map(encode_frame, sent))
    reader = FrameReader()
    got = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert got == sent
    assert reader.dropped == 0


@settings(max_examples=300)
@given(frames, st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_never_believed(sent: Frame, place: int, bit: int) -> None:
    data = bytearray(encode_frame(sent))
    data[1 + place % (len(data) - 2)] ^= 1 << bit
    assert sent not in FrameReader().feed(bytes(data)) and FrameReader().feed(bytes(data)) == []


@given(st.binary(max_size=400), frames)
def test_the_next_good_frame_works(noise: bytes, sent: Frame) -> None:
    assert FrameReader().feed(noise + encode_frame(sent))[-1] == sent


@pytest.mark.parametrize(
    "damaged", [bytes([FLAG, ESCAPE, FLAG]), bytes([FLAG, 1, FLAG]), b"\x7e" + b"a" * 300 + b"\x7e"]
)
def test_damaged_frames_are_counted(damaged: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(damaged) == []
    assert reader.dropped == 1


def test_too_long_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\AFrame must be at most 256 bytes long, not 257\Z"):
        encode_frame(Frame(0, 0, bytes(251)))
