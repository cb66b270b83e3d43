"""Figures of Japanese in kana: espeak-ng's voice knows no kanji, and in kana every voice reads them as they are said."""

from collections.abc import Callable

MONTHS = ("いち", "に", "さん", "し", "ご", "ろく", "しち", "はち", "く", "じゅう", "じゅういち", "じゅうに")
DAYS = {1: "ついたち", 2: "ふつか", 3: "みっか", 4: "よっか", 5: "いつか", 6: "むいか", 7: "なのか", 8: "ようか", 9: "ここのか", 10: "とおか", 14: "じゅうよっか", 20: "はつか", 24: "にじゅうよっか"}
CURRENCIES = {"米ドル": "ドル", "英国ポンド": "ポンド", "韓国ウォン": "ウォン", "中国人民元": "じんみんげん", "日本円": "えん", "円": "えん"}  # CLDR's names


def date_in_kana(year: int, month: int, day: int, words: Callable[[int], str]) -> str:
    """A day as it is said. words: a number in kana."""
    return f"{words(year)}ねん{MONTHS[month - 1]}がつ{DAYS.get(day) or words(day) + 'にち'}"


def in_kana(words: str) -> str:
    """An amount whose number is in kana, its currency as well; '' where that has kanji all the same."""
    for name, kana in CURRENCIES.items():
        words = words.replace(name, kana)
    return "" if any("\u4e00" <= c <= "\u9fff" for c in words) else words
