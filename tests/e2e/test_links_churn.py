"""Links and namespaces change all the time: what the page says stays exact, and nothing grows."""

import secrets

import pytest

from tests.soak import links

pytestmark = [pytest.mark.e2e, pytest.mark.node, pytest.mark.usefixtures("open_vswitch")]
CHANGES, NAMESPACES = 800, 200


def test_the_page_is_ips_and_nothing_grows_while_links_and_namespaces_change() -> None:
    seed = secrets.randbits(32)
    assert links.run(CHANGES, NAMESPACES, seed) == "", f"seed {seed}"
