"""Text that others wrote, put into a Markdown page as text."""

import unicodedata

MEANT = str.maketrans(
    {"&": "&amp;", "<": "&lt;", **{letter: f"\\{letter}" for letter in "\\|[]`"}, "\n": " "}
)


def escape(text: str) -> str:
    """A text that a page shows as it is: no table, tag, link, picture or code begins in it.

    Control characters become spaces, also those that would turn the direction of what follows.
    """
    turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    shown = (" " if unicodedata.category(c) == "Cc" or c in turning else c for c in text)
    return "".join(shown).translate(MEANT)
