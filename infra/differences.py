"""What differs between two scripts, cue by cue, and between two texts, word by word. Scripts are whatever has cues: an engine's, a file's, a page's."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, Protocol

# Letters of a word together; each sign by itself in scripts that put no space between words, and wherever no letter is.
WORD = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿]|[^\W_぀-ヿ㐀-䶿一-鿿豈-﫿]+|\s+|.", re.DOTALL)


class Cued(Protocol):
    """A timed line, in seconds."""

    @property
    def start(self) -> float:
        """Where it begins."""

    @property
    def end(self) -> float:
        """Where it ends."""

    @property
    def text(self) -> str:
        """What is said."""

    @property
    def speaker(self) -> str:
        """Who says it; empty for nobody in particular."""


class Line(NamedTuple):
    """A timed line as plain values."""

    start: float
    end: float
    text: str
    speaker: str = ""


def changes(before: Sequence[Cued], after: Sequence[Cued]) -> list[dict[str, Any]]:
    """What differs between two scripts, in order: `added`, `removed` and `changed` cues (words or times), with their places from 1."""
    rows: list[dict[str, Any]] = []
    for kind, i, j, k, n in SequenceMatcher(None, [_same(cue) for cue in before], [_same(cue) for cue in after], autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        both = min(j - i, n - k)
        rows += [{"what": "changed", "place": k + at + 1, "before": _row(before[i + at]), "after": _row(after[k + at])} for at in range(both)]
        rows += [{"what": "removed", "place": at + 1, "before": _row(before[at])} for at in range(i + both, j)]
        rows += [{"what": "added", "place": at + 1, "after": _row(after[at])} for at in range(k + both, n)]
    return rows


def _same(cue: Cued) -> tuple[str, float, float, str]:
    return cue.text, round(cue.start, 2), round(cue.end, 2), cue.speaker


def _row(cue: Cued) -> dict[str, Any]:
    return {"start": round(cue.start, 3), "end": round(cue.end, 3), "text": cue.text, "speaker": cue.speaker}


def words(before: str, after: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Two texts in pieces, (whether the other has it otherwise, piece) each; together a text's pieces are the text."""
    one, other = WORD.findall(before), WORD.findall(after)
    left: list[tuple[bool, str]] = []
    right: list[tuple[bool, str]] = []
    for kind, i, j, k, n in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        left += [(kind != "equal", "".join(one[i:j]))] if j > i else []
        right += [(kind != "equal", "".join(other[k:n]))] if n > k else []
    return left, right
