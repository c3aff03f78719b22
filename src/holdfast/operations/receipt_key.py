"""The key with which this instance signs receipts: made at first use, kept in the state directory, never replaced.

Promises: processes that come at once agree on one key; what is in place is whole, also after a power cut; only its
owner may read it. Does not know what is signed (`operations.receipts`).
"""

from __future__ import annotations

import base64
import binascii
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from holdfast.errors import ConfigError, Denied
from holdfast.seams import Entropy, Files, SystemEntropy, SystemFiles

KEY_FILE = "receipt-key.pem"
PREFIX = "ed25519:"
_KEY_BYTES = 32
_FILE_BYTES_MAX = 10_000


class ReceiptKey:
    """A private key, and its public half as text."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PREFIX + base64.b64encode(private.public_key().public_bytes_raw()).decode("ascii")

    @classmethod
    def of(cls, state_dir: Path, *, entropy: Entropy | None = None, files: Files | None = None) -> ReceiptKey:
        """The key of this state directory; made if there is none. `Denied` if others may read it, `ConfigError` if the
        file is no key."""
        found = cls.find(state_dir)
        if found is None:
            _make(state_dir / KEY_FILE, entropy or SystemEntropy(), files or SystemFiles())
            found = cls.find(state_dir)
        if found is None:
            raise ConfigError(f"{state_dir / KEY_FILE}: it was made a moment ago and is gone; begin again")
        return found

    @classmethod
    def find(cls, state_dir: Path) -> ReceiptKey | None:
        """The key of this state directory, or None. Makes nothing."""
        path = state_dir / KEY_FILE
        try:
            with open(path, "rb") as stream:
                mode = stat.S_IMODE(path.stat().st_mode)
                body = stream.read(_FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        if mode & 0o077:
            raise Denied(f"{path}: others may read it ({mode:04o}), and sign with it; chmod 600 it if none of them has")
        try:
            private = load_pem_private_key(body, None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}: this is no key; restore it, or move it away to get a new one") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{path}: this is no Ed25519 key; restore it, or move it away to get a new one")
        return cls(private)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)


def is_signed(message: bytes, signature: bytes, public: str) -> bool:
    """Whether this is the signature of the message with the private half of that key."""
    try:
        Ed25519PublicKey.from_public_bytes(raw_of(public)).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def raw_of(public: str) -> bytes:
    """The bytes of a public key; `ConfigError` if the text is none."""
    try:
        raw = base64.b64decode(public.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not public.startswith(PREFIX) or len(raw) != _KEY_BYTES:
        raise ConfigError(f"{public[:80]!r} is no public key; `holdfast receipt key` prints one: {PREFIX}...")
    return raw


def _make(path: Path, entropy: Entropy, files: Files) -> None:
    """Whole under its name, or not at all. Does nothing if somebody was faster."""
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(entropy.token(_KEY_BYTES)))
    body = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    beside = f"{path}.{entropy.token(8)}"
    fd = files.create(beside, 0o600)
    try:
        try:
            files.write(fd, body)
            files.sync(fd)
        finally:
            files.close(fd)
        files.rename_new(beside, str(path))
    except FileExistsError:
        files.unlink(beside)
        return
    except BaseException:
        with suppress(OSError):
            files.unlink(beside)
        raise
    files.sync_folder(str(path.parent))
