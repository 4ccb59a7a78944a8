"""Names and matches come from the switch; a terminal obeys some characters."""


def printable(text: str) -> str:
    r"""Write every character that a terminal might obey, or show as nothing, by its number.

    Control characters, line ends, and those that turn the direction of writing:
    ``tap\x1b[2J`` becomes ``tap\u001b[2J``.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as in Python
