"""The record of a commit, with the digest that makes it count."""

import hashlib
import json


def signed(document: dict[str, object]) -> bytes:
    """The record of this content, with its digest."""
    body = json.dumps(document, separators=(",", ":")).encode().removeprefix(b"{")
    return b'{"digest":"%s",\n' % hashlib.sha256(body).hexdigest().encode() + body
