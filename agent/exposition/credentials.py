"""Whether a user and a password belong together: bcrypt, paid for once and never in the loop.

One hash at cost 10 keeps a core busy for about 60 ms. A single thread computes them one at a
time, so that a flood of wrong passwords costs the node one core at worst and the page nothing:
who has been admitted before is found in a cache that failures cannot push entries out of.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import bcrypt

MIN_COST = 4
MAX_COST = 20
"""Above this a single answer takes a minute and more; bcrypt itself ends at 31."""

MAX_PASSWORD_BYTES = 72
"""The rest of a password takes no part in a bcrypt hash."""

CACHED_RESULTS = 100
MAX_WAITING = 16

# The version letter says nothing about how a hash is computed today, and whatever follows the
# 31 characters of the digest (a newline of a block scalar) is ignored, as the toolkit does.
_BCRYPT = re.compile(
    r"\$2[a-z]?\$(?P<cost>[0-9]{2})\$(?P<salt>[./A-Za-z0-9]{22})(?P<digest>[./A-Za-z0-9]{31})"
)


_ALPHABET = f"./{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}"


class BusyError(Exception):
    """Too many different credentials wait to be checked; come back later."""


@dataclass(frozen=True, repr=False)
class BcryptHash:
    """A bcrypt hash in its parts; it has no readable form, so that no log can show it.

    Attributes:
        cost: Binary logarithm of the rounds, 4 to 20.
        salt: 22 characters of bcrypt's base64.
        digest: 31 characters of bcrypt's base64.
    """

    cost: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        """Compute the hash of a password and compare. Takes 60 ms at cost 10, twice that at 11."""
        salt = b"$2b$%02d$%s" % (self.cost, self.salt)
        computed = bcrypt.hashpw(password[:MAX_PASSWORD_BYTES], salt)
        return hmac.compare_digest(computed[-len(self.digest) :], self.digest)


def parse_hash(text: str) -> BcryptHash:
    """Read a bcrypt hash as htpasswd prints it.

    A sample: ``$2y$10$qRTBuFoULoYNA7AQ/F3ck.trZBPyjV64.oA4ZsSBCIWvXuvQlQTuu``.

    Args:
        text: The hash; what follows its 60 characters is ignored.

    Raises:
        ValueError: Not a bcrypt hash, or a cost that is refused. The text never holds the hash.
    """
    found = _BCRYPT.match(text)
    if found is None:
        raise ValueError("not a bcrypt hash")
    cost = int(found["cost"])
    if not MIN_COST <= cost <= MAX_COST:
        raise ValueError(f"the bcrypt cost is {cost}, allowed are {MIN_COST} to {MAX_COST}")
    salt = found["salt"]
    # 22 letters hold four bits more than a salt has. Tools differ in what they leave there, and
    # the library refuses anything but zeros.
    last = _ALPHABET[_ALPHABET.index(salt[-1]) & 0b110000]
    return BcryptHash(cost, f"{salt[:-1]}{last}".encode(), found["digest"].encode())


class _Recent:
    """The results used last, at most CACHED_RESULTS of them."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        if key not in self._keys:
            return False
        self._keys.move_to_end(key)
        return True

    def add(self, key: bytes) -> None:
        self._keys[key] = None
        while len(self._keys) > CACHED_RESULTS:
            self._keys.popitem(last=False)


@dataclass
class Verifier:
    """Checks credentials against the users that are in force at the moment of asking."""

    # Keys the cache: what is kept of a password is of no use without this process's memory.
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _admitted: _Recent = field(default_factory=_Recent, repr=False)
    _refused: _Recent = field(default_factory=_Recent, repr=False)
    _flights: dict[bytes, asyncio.Future[bool]] = field(default_factory=dict, repr=False)
    _worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "bcrypt"), repr=False
    )

    async def admits(self, users: Mapping[bytes, BcryptHash], user: bytes, password: bytes) -> bool:
        """Say whether the password is this user's.

        A name that is not among the users costs as much as one that is.

        Args:
            users: Hashes by name; at least one.
            user: As the client sent it, at most what an HTTP header holds.
            password: The same; beyond 72 bytes it does not matter.

        Raises:
            BusyError: The queue of 16 is full; only for credentials that are in no cache.
        """
        known = users.get(user)
        hashed = known or self._decoy(users, user)
        key = self._digest(user, hashed.salt, hashed.digest, password)
        if key in self._admitted:
            return known is not None
        if key in self._refused:
            return False
        matches = await self._compute(key, hashed, password)
        admitted = matches and known is not None
        (self._admitted if admitted else self._refused).add(key)
        return admitted

    def close(self) -> None:
        """Let go of the thread, without waiting for a hash that it computes."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _compute(self, key: bytes, hashed: BcryptHash, password: bytes) -> bool:
        """Compute once for all who ask at the same time; one who leaves does not stop it."""
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= MAX_WAITING:
                raise BusyError
            loop = asyncio.get_running_loop()
            flight = loop.run_in_executor(self._worker, hashed.matches, password)
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    def _decoy(self, users: Mapping[bytes, BcryptHash], user: bytes) -> BcryptHash:
        """Return a hash for a name that does not exist, always of the same cost for that name."""
        costs = sorted(hashed.cost for hashed in users.values())
        choice = self._digest(user)
        return BcryptHash(costs[choice[0] % len(costs)], b"." * 22, b"." * 31)

    def _digest(self, *parts: bytes) -> bytes:
        keyed = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in parts:
            keyed.update(len(part).to_bytes(8, "big"))
            keyed.update(part)
        return keyed.digest()
