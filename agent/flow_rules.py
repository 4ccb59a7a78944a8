"""The rules of ``flows.select`` as people write them."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_PATTERN = 1000
MAX_COOKIE = (1 << 64) - 1


class Rule(BaseModel):
    """Names flows: those that have everything it gives; keys that it does not have are errors.

    Attributes:
        bridge: Name of the bridge.
        table: OpenFlow table.
        priority: 0 to 65535.
        cookie: Value and mask, written as ``parse_cookie`` reads it.
        match: Shell pattern on the text of the match; an empty one is the match of all packets.
        interface: Shell pattern on the name of the in_port's interface.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bridge: str | None = Field(None, min_length=1)
    table: int | None = Field(None, ge=0, le=254)
    priority: int | None = Field(None, ge=0, le=65535)
    cookie: tuple[int, int] | None = None
    match: str | None = Field(None, max_length=MAX_PATTERN)
    interface: str | None = Field(None, min_length=1, max_length=MAX_PATTERN)

    @field_validator("cookie", mode="before")
    @classmethod
    def _cookie(cls, cookie: Any) -> tuple[int, int] | None:
        return None if cookie is None else parse_cookie(str(cookie))

    @model_validator(mode="after")
    def _names_flows(self) -> Self:
        if all(value is None for _, value in self):
            raise ValueError(f"gives none of {', '.join(type(self).model_fields)}")
        return self


def parse_cookie(text: str) -> tuple[int, int]:
    """Return value and mask of ``0x1f``, ``31`` or ``0x10/0xf0``; without a mask, of all bits.

    Raises:
        ValueError: If it is none of these, or has more than 64 bits.
    """
    value, slash, mask = text.partition("/")
    return _number(value), _number(mask) if slash else MAX_COOKIE


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError as error:
        raise ValueError("not a number, or two with / between them") from error
    if not 0 <= number <= MAX_COOKIE:
        raise ValueError("not a number of 64 bits")
    return number
