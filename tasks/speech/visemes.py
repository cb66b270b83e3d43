"""Visemes: which phones look alike on a mouth, by MPEG-4's fifteen classes (ISO/IEC 14496-2, facial animation)."""

VISEMES: dict[str, tuple[str, ...]] = {
    "0 rest": ("SIL", "NSN"), "1 lips closed": ("P", "B", "M"), "2 lip on teeth": ("F", "V"), "3 tongue on teeth": ("TH", "DH"), "4 tongue tip": ("T", "D"), "5 back of the tongue": ("K", "G", "NG", "HH"),
    "6 rounded friction": ("CH", "JH", "SH", "ZH"), "7 teeth together": ("S", "Z"), "8 tongue behind teeth": ("N", "L"), "9 r": ("R", "ER"), "10 open": ("AA", "AH", "AY", "AW"), "11 half open": ("EH", "AE", "EY"),
    "12 spread": ("IH", "IY", "Y"), "13 half round": ("AO", "OW", "OY"), "14 round": ("UH", "UW", "W"),
}  # fmt: skip
VISEME_OF = {phone: name for name, phones in VISEMES.items() for phone in phones}
