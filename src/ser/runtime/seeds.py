"""Seeds as a function of names, not of history.

The seed of a fold, of an epoch's order or of a clip's augmentation depends only on what it is for.
So neither the number of workers, nor the batch size, nor an interruption can change it.
"""

from __future__ import annotations

import hashlib
from numbers import Integral


def seed_of(*names: int | str) -> int:
    """A 32-bit seed from names, e.g. `seed_of(seed, "augment", epoch, clip_id)`; the same on every machine.

    A number is a number, whatever its class: one from the command line is of jsonargparse's, the same in a default a plain int.
    """
    text = "\x1f".join(f"{'int' if isinstance(name, Integral) else 'str'}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
