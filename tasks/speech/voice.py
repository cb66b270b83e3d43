"""One utterance of espeak-ng in a process of its own: `python voice.py` reads a request as JSON and answers in one line of JSON and PCM.

The library keeps state between utterances that no call resets, and seeds its chance by the clock, so the same text would sound a little
different each time; a fresh process with a seed of its own always says it the same way. It is also where a text that crashes the library does no harm. Only the standard library and the
wheel that carries espeak-ng are imported, so that it starts fast.

Request: {"voices": true}, or {"text", "names" (voices to try in order), "pace" (words a minute), "sounds" (true: names of sounds stand in
[[ ]])}, or {"named": [names of sounds], "names"}, or {"clauses": [texts], "names"}. Answer: {"voices": {language: identifier}} or {"rate",
"marks": [[seconds, IPA], ...], "bytes"} and that many bytes of 16-bit PCM, or {"ipa": {name: IPA}}, or {"clauses": [[[IPA, text], ...] of each text]}, or {"error": reason}.
"""

import ctypes
import json
import sys
from typing import Any

import espeakng_loader

RETRIEVAL, PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 1, 0x0001, 0x0002, 0x8000
PHONEME, UTF8, SOUNDS, END_PAUSE, PACE, IPA = 7, 1, 0x100, 0x1000, 1, 2
SEED = 1


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p), ("rest", ctypes.c_char * 16)]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def voices(library: Any) -> dict[str, str]:
    """Language codes, each with the identifier of its first voice."""
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    rows, at = library.espeak_ListVoices(None), 0
    found: dict[str, str] = {}
    while rows[at]:
        found.setdefault(rows[at].contents.languages[1:].decode(), rows[at].contents.identifier.decode())
        at += 1
    return dict(sorted(found.items()))


def speak(library: Any, rate: int, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer to a request to speak, and its PCM."""
    if all(library.espeak_SetVoiceByName(name.encode()) != 0 for name in request["names"]):
        return {"error": "voice"}, b""
    library.espeak_SetParameter(PACE, request["pace"], 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
    ctypes.CDLL(None).srand(SEED)  # parts of the library draw from the C library's numbers
    sound = bytearray()
    marks: list[tuple[float, str]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if count > 0:
            sound.extend(ctypes.string_at(samples, count * 2))
        at = 0
        while events[at].type != 0:
            if events[at].type == PHONEME:
                marks.append((events[at].audio_position / 1000, events[at].id.string.decode("utf-8", "ignore")))
            at += 1
        return 0

    callback = CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    data = request["text"].encode() + b"\0"
    flags = UTF8 | END_PAUSE | (SOUNDS if request.get("sounds") else 0)
    code = library.espeak_Synth(data, len(data), 0, 0, 0, flags, None, None)
    library.espeak_Synchronize()
    if code != 0 or not sound:
        return {"error": "silent"}, b""
    return {"rate": rate, "marks": marks, "bytes": len(sound)}, bytes(sound)


def named(library: Any, rate: int, request: dict[str, Any]) -> dict[str, Any]:
    """The IPA of sounds by their names, as a voice says them alone."""
    found: dict[str, str] = {}
    for name in request["named"]:
        answer, _ = speak(library, rate, {"text": f"[[{name}]]", "names": request["names"], "pace": 450, "sounds": True})
        if answer.get("error") == "voice":
            return answer
        found[name] = "".join(mark for _, mark in answer.get("marks", ()))
    return {"ipa": found}


def clauses(library: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The IPA of texts' clauses, stress and spaces between words in it, and the text of each."""
    if all(library.espeak_SetVoiceByName(name.encode()) != 0 for name in request["names"]):
        return {"error": "voice"}
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    return {"clauses": [_clauses(library, text.encode()) for text in request["clauses"]]}


def _clauses(library: Any, data: bytes) -> list[tuple[str, str]]:
    held = ctypes.create_string_buffer(data + b"\0")
    base = ctypes.addressof(held)
    at = ctypes.c_void_p(base)
    found: list[tuple[str, str]] = []
    ahead = ""
    while at.value is not None and at.value - base < len(data):
        begin = at.value - base
        ipa = library.espeak_TextToPhonemes(ctypes.byref(at), UTF8, IPA) or b""
        end = len(data) if at.value is None else at.value - base
        if end <= begin:
            break
        read, ahead = ahead + data[begin:end].decode("utf-8", "ignore"), ""
        if at.value is not None:  # it has looked at the next clause's first character
            read, ahead = read[:-1], read[-1:]
        found.append((ipa.decode("utf-8", "ignore"), read))
    return found


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    library = ctypes.cdll.LoadLibrary(str(espeakng_loader.get_library_path()))
    data = str(espeakng_loader.get_data_path()).encode()
    rate = library.espeak_Initialize(RETRIEVAL, 0, data, PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT)
    pcm = b""
    if rate <= 0:
        answer: dict[str, Any] = {"error": "data"}
    elif request.get("voices"):
        answer = {"voices": voices(library)}
    elif "named" in request:
        answer = named(library, rate, request)
    elif "clauses" in request:
        answer = clauses(library, request)
    else:
        answer, pcm = speak(library, rate, request)
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pcm)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
