"""Keeps models on a cluster, for processes of the service that start at any time, on any node.

They are in the key-value store of Ray's head, where they outlive the process that put them there,
unlike an object; Ray Serve's own configuration must stay small and hold JSON alone.
"""

import hashlib
import json

from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from fmnist_ray.app.bundle import ModelBundle

_SPACE = b"fmnist_ray"
_LENGTH = 8  # bytes of each part's length


def keep_bundle(bundle: ModelBundle) -> str:
    """Puts a model there, and returns its key."""
    facts = json.dumps(dict(bundle.facts)).encode()
    parts = [bundle.name.encode(), facts, bundle.description, bundle.weights]
    content = b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts)
    key = hashlib.sha256(content).hexdigest()
    _internal_kv_put(key.encode(), content, overwrite=True, namespace=_SPACE)
    return key


def fetch_bundle(key: str) -> ModelBundle:
    """The model of a key."""
    content: bytes = _internal_kv_get(key.encode(), namespace=_SPACE)
    parts = []
    while content:
        length = int.from_bytes(content[:_LENGTH], "big")
        parts.append(content[_LENGTH : _LENGTH + length])
        content = content[_LENGTH + length :]
    name, facts, description, weights = parts
    return ModelBundle(name.decode(), description, weights, json.loads(facts))


def forget_bundles(kept: str | None = None) -> None:
    """Removes all models, or all but one."""
    for key in _internal_kv_list(b"", namespace=_SPACE):
        if key.decode() != kept:
            _internal_kv_del(key, namespace=_SPACE)
