"""Marks of speech from off screen, as dubbing scripts write them: `ANNA (OFF)` for a speaker, `(V.O.) It was late.` before a text."""

import re

WORDS = r"off|o\. ?s\.|os|o\. ?c\.|oc|v\. ?o\.|vo|off[ -]?screen|off[ -]?camera|voice[ -]?over"
NAME = re.compile(rf" ?[(\[] ?(?:{WORDS}) ?[)\]]$", re.IGNORECASE)
TEXT = re.compile(rf"[(\[] ?(?:{WORDS.upper()}) ?[)\]] ?:? ?")


def seen_name(name: str) -> tuple[str, bool]:
    """A speaker's name, white space as single spaces, without its mark; and whether it had one."""
    found = NAME.search(name)
    return (name[: found.start()], True) if found else (name, False)


def seen_text(text: str) -> tuple[str, bool]:
    """A text, white space as single spaces, without its mark, which stands in capitals before it; and whether it had one. A mark alone is text."""
    found = TEXT.match(text)
    return (text[found.end() :], True) if found and any(c.isalnum() for c in text[found.end() :]) else (text, False)
