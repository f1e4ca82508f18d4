"""Words of users, in tables and in the configuration: compared as people mean them, and shown if they are unknown."""

import re
import unicodedata
from collections.abc import Mapping
from difflib import get_close_matches

from fedxray.core.errors import UserError


def word(text: str) -> str:
    """A word as mappings compare it: case, spaces at the ends and the number of spaces do not count; 1.0 is 1."""
    text = " ".join(clean(text).casefold().split())
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def clean(text: str) -> str:
    """A cell in one line and one form of Unicode (NFC), without spaces and invisible marks at its ends."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", unicodedata.normalize("NFC", text))
    return text.strip("\ufeff\u200b\u200e\u200f \u00a0")


def joined(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Both mappings, where a word of `above` takes the place of the same word of `below`, whatever its case."""
    words = {word(text) for text in above}
    return {text: value for text, value in below.items() if word(text) not in words} | dict(above)


def normalised(mapping: Mapping[str, str], key: str) -> dict[str, str]:
    """A mapping whose words are as `word` gives them; raises UserError if two of them are then one with two values."""
    words: dict[str, str] = {}
    for text, value in mapping.items():
        if words.setdefault(word(text), value) != value:
            raise UserError(f"{key}: {text!r} stands there twice, with two meanings; keep one")
    return words


def nearest(text: str, words: Mapping[str, str]) -> str:
    """Words of a mapping that are like `text`, for an error; all of them if none is."""
    near = get_close_matches(word(text), words, 1, 0.5)
    return f"the nearest known is {near[0]!r}" if near else f"known are {', '.join(map(repr, list(words)[:8]))}"
