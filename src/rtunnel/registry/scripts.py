"""What is kept in Redis, and the scripts that change it: each does all of a change at once, or nothing.

For each server there is one hash: its own record under ``s``, the number of its latest change under ``n``, and the records of its
connectors under their IDs. ``servers`` is a sorted set of the servers, by the time of their last sign of life. ``tunnel:ID`` counts
what was agreed on for a tunnel. Changes are published in ``changes``, messages to a server in ``to:ID``.

The names begin with the prefix and the version of the records; those of channels also have the number of the database, since a
message reaches the subscribers of all databases. All keys end by themselves when nobody renews them.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from attrs import frozen

from rtunnel.registry.records import VERSION

__all__ = [
    "AGREEMENT_TTL",
    "BEAT",
    "FIELD_NUMBER",
    "FIELD_SERVER",
    "LIVING",
    "LOST",
    "MOVED",
    "RENAME",
    "SERVER_TTL",
    "STOP",
    "WRITE",
    "WRITTEN",
    "Keys",
]

SERVER_TTL: Final = 60
"""Seconds for which the records of a server stay without a sign of life. (Others forget it much earlier.)"""
AGREEMENT_TTL: Final = 86400
"""Seconds for which is remembered that something was agreed on; more than any decision takes."""

FIELD_SERVER: Final = b"s"
FIELD_NUMBER: Final = b"n"

WRITTEN: Final = 1
"""It was done."""
LOST: Final = 0
"""Redis does not have what the server has written before."""
MOVED: Final = -1
"""Something else was agreed on for the tunnel meanwhile."""


@frozen
class Keys:
    """Names of keys and channels.

    :ivar prefix: of all of them.
    :ivar database: its number.
    """

    prefix: str
    database: int

    def _name(self, name: str) -> str:
        return f"{self.prefix}{VERSION}:{name}"

    @property
    def servers(self) -> str:
        """The servers, by their last sign of life."""
        return self._name("servers")

    def server(self, server: UUID) -> str:
        """The hash of a server."""
        return self._name(f"server:{server}")

    def next(self, server: UUID) -> str:
        """Where its records are while they are written anew."""
        return self._name(f"next:{server}")

    def tunnel(self, tunnel: UUID) -> str:
        """The counter of a tunnel."""
        return self._name(f"tunnel:{tunnel}")

    @property
    def changes(self) -> str:
        """The channel of changes."""
        return self._name(f"{self.database}:changes")

    def to(self, server: UUID) -> str:
        """The channel of messages to a server."""
        return self._name(f"{self.database}:to:{server}")


# KEYS: hash, servers, tunnels that are contested...
# ARGV: server, number before, ttl, ttl of agreements, channel, message, count expected for the first tunnel or "",
#       how many are gone, their IDs..., fields and values...
WRITE: Final = f"""
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[2] then return {LOST} end
if ARGV[7] ~= '' and (redis.call('GET', KEYS[3]) or '0') ~= ARGV[7] then return {MOVED} end
local gone = tonumber(ARGV[8])
redis.call('HSET', KEYS[1], 'n', string.format('%d', tonumber(ARGV[2]) + 1), unpack(ARGV, 9 + gone))
if gone > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 9, 8 + gone)) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
for i = 3, #KEYS do
  redis.call('INCR', KEYS[i])
  redis.call('EXPIRE', KEYS[i], ARGV[4])
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return {WRITTEN}
"""

# KEYS: hash, servers; ARGV: server, number, ttl, channel, message. Others shall hear of it even if Redis has no memory left.
BEAT: Final = f"""
redis.call('PUBLISH', ARGV[4], ARGV[5])
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[2] then return {LOST} end
local now = redis.call('TIME')[1]
local added = redis.pcall('ZADD', KEYS[2], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
if type(added) == 'table' then return added end
return {WRITTEN}
"""

# KEYS: hash, servers, next; ARGV: server, number, ttl, channel, message, record of the server
RENAME: Final = f"""
redis.call('HSET', KEYS[3], 'n', ARGV[2], 's', ARGV[6])
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return {WRITTEN}
"""

# KEYS: hash, servers, next; ARGV: server, channel, message
STOP: Final = f"""
redis.call('UNLINK', KEYS[1], KEYS[3])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return {WRITTEN}
"""

# KEYS: servers; ARGV: seconds
LIVING: Final = """
return redis.call('ZRANGEBYSCORE', KEYS[1], redis.call('TIME')[1] - ARGV[1], '+inf')
"""
