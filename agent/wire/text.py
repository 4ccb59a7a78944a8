"""Texts of peers, as they go into the model."""

MAX_TEXT_CHARACTERS = 1024


def clean(text: str) -> str:
    r"""Cut to ``MAX_TEXT_CHARACTERS`` and replace what UTF-8 or a page cannot hold.

    JSON's ``\u0000`` and ``\ud800`` are text to Python; the second cannot be encoded.
    """
    text = text[:MAX_TEXT_CHARACTERS]
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
