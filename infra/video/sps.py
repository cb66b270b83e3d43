"""What an H.264 sequence parameter set says (ITU-T H.264, 7.3.2.1.1 and E.1): how many pictures a decoder holds, and whether fields are used."""

from dataclasses import dataclass

WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
INTRA_ONLY = {44, 86, 100, 110, 122, 244}
HELD_BLOCKS = {  # MaxDpbMbs, table A-1
    9: 396, 10: 396, 11: 900, 12: 2376, 13: 2376, 20: 2376, 21: 4752, 22: 8100, 30: 8100, 31: 18_000, 32: 20_480, 40: 32_768, 41: 32_768, 42: 34_816,
    50: 110_400, 51: 184_320, 52: 184_320, 60: 696_320, 61: 696_320, 62: 696_320,
}  # fmt: skip


@dataclass(frozen=True)
class Sequence:
    """`number` of the set; `profile`: profile_idc; `held`: pictures in the decoder's buffer (max_dec_frame_buffering); `fields`: whether pictures may be fields."""

    number: int
    profile: int
    held: int
    fields: bool


class _Bits:
    """Bits of a NAL unit from its second byte, emulation prevention (7.4.1.1) taken out."""

    def __init__(self, unit: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in unit[1:].replace(b"\0\0\3", b"\0\0"))
        self._at = 0

    def plain(self, count: int) -> int:
        self._at += count
        if not count:
            return 0
        if self._at > len(self._bits):
            raise ValueError("the parameter set ends early")
        return int(self._bits[self._at - count : self._at], 2)

    def coded(self) -> int:
        """ue(v), 9.1."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.plain(zeros + 1) - 1

    def signed(self) -> int:
        """se(v), 9.1.1."""
        value = self.coded()
        return (value + 1) // 2 if value % 2 else -(value // 2)

    def skip(self, count: int) -> None:
        for _ in range(count):
            self.coded()


def picture_set_number(unit: bytes) -> int:
    """The number of a picture parameter set."""
    return _Bits(unit).coded()


def sequence(unit: bytes) -> Sequence:
    """Read a sequence parameter set. Raises ValueError where it is damaged."""
    bits = _Bits(unit)
    profile, constraints, level, number = bits.plain(8), bits.plain(8), bits.plain(8), bits.coded()
    if profile in WITH_CHROMA:
        chroma = bits.coded()
        bits.plain(1 if chroma == 3 else 0)
        bits.skip(2)
        bits.plain(1)
        if bits.plain(1):
            for place in range(12 if chroma == 3 else 8):
                if bits.plain(1):
                    _pass_scaling_list(bits, 16 if place < 6 else 64)
    bits.skip(1)
    order = bits.coded()
    if order == 0:
        bits.skip(1)
    elif order == 1:
        bits.plain(1)
        bits.skip(2)
        bits.skip(bits.coded())
    bits.skip(1)
    bits.plain(1)
    wide, high, frames_only = bits.coded() + 1, bits.coded() + 1, bits.plain(1)
    bits.plain(2 - frames_only)
    if bits.plain(1):
        bits.skip(4)
    told = _held_as_told(bits) if bits.plain(1) else None
    if told is None:
        level = 9 if level == 11 and constraints & 16 and profile not in INTRA_ONLY else level
        most = HELD_BLOCKS.get(level, 0) // (wide * high * (2 - frames_only))
        told = 0 if constraints & 16 and profile in INTRA_ONLY else min(most, 16)
    return Sequence(number, profile, told, not frames_only)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _held_as_told(bits: _Bits) -> int | None:
    """max_dec_frame_buffering of the usability information, if it is there."""
    if bits.plain(1) and bits.plain(8) == 255:
        bits.plain(32)
    if bits.plain(1):
        bits.plain(1)
    if bits.plain(1):
        bits.plain(4)
        if bits.plain(1):
            bits.plain(24)
    if bits.plain(1):
        bits.skip(2)
    if bits.plain(1):
        bits.plain(65)
    buffers = 0
    for _ in range(2):
        if bits.plain(1):
            buffers += 1
            count = bits.coded() + 1
            bits.plain(8)
            for _ in range(count):
                bits.skip(2)
                bits.plain(1)
            bits.plain(20)
    bits.plain(2 if buffers else 1)
    if not bits.plain(1):
        return None
    bits.plain(1)
    bits.skip(5)
    return bits.coded()
