"""The YAML of a web configuration, with the strictness of the toolkit that defined the file.

Scalars stay the text that was written, because the field decides what they mean: a user named
``007`` is not the number seven, and ``X-XSS-Protection: 1`` is text. A key that stands twice, a
second document, a merge key and a tag of one's own are errors: each of them can hide a
``basic_auth_users`` that a reader believes to be in force.
"""

from typing import TypeAlias

import yaml

_STR = "tag:yaml.org,2002:str"
_SEQ = "tag:yaml.org,2002:seq"
_MAP = "tag:yaml.org,2002:map"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


class Scalar(str):
    """Text as it stands in the file.

    Attributes:
        plain: Written without quotes, so that ``yes`` may be a boolean and ``5`` a number.
        line: Where it begins, from 1.
    """

    __slots__ = ("line", "plain")
    line: int
    plain: bool


Document: TypeAlias = "dict[Scalar, Document] | list[Document] | Scalar | None"


class WebYamlError(ValueError):
    """The file is not YAML, or uses what is not allowed here. The text quotes no values."""


class _Loader(yaml.SafeLoader):
    """A safe loader that knows text, lists and mappings only."""

    # Class attributes of PyYAML, replaced and not extended: nothing else can be constructed.
    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML declares it without ClassVar
    yaml_constructors = {}  # noqa: RUF012 - the same


def parse(data: bytes) -> Document:
    """Read one document.

    A sample of the input::

        tls_server_config:
          cert_file: server.crt
        basic_auth_users:
          alice: $2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu

    Args:
        data: The file, of bounded size.

    Returns:
        Mappings, lists and scalars; None for a null and for a file without a document.

    Raises:
        WebYamlError: Not YAML, not UTF-8, more than one document, a duplicate key, nesting too
            deep, or a tag other than YAML's text, list and mapping.
    """
    try:
        # S506 asks for SafeLoader, which this is.
        document: Document = yaml.load(data, Loader=_Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        # Never the error's own text: it quotes the line, which may hold a key or a hash.
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise WebYamlError(f"{where}{what}") from None
    except yaml.YAMLError:
        raise WebYamlError("not YAML: neither UTF-8 nor UTF-16, or control characters") from None
    except RecursionError:
        raise WebYamlError("nested too deeply") from None
    return document


def _scalar(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Scalar | None:
    text = Scalar(node.value)
    text.plain = node.style is None
    text.line = node.start_mark.line + 1
    if text.plain and text in _NULL:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        problem = "found half of a surrogate pair"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
    return text


def _sequence(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Document]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Scalar, Document]:
    pairs: dict[Scalar, Document] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        problem = None
        if not isinstance(key, Scalar):
            problem = "a key must be text"
        elif key in pairs:
            problem = "the key stands here for the second time"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        pairs[key] = loader.construct_object(value_node, deep=True)
    return pairs


def _undefined(_loader: yaml.SafeLoader, node: yaml.Node) -> Document:
    problem = "a tag that means nothing here"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_constructor(_STR, _scalar)
_Loader.add_constructor(_SEQ, _sequence)
_Loader.add_constructor(_MAP, _mapping)
_Loader.add_constructor(None, _undefined)
