"""A signature under the certificates of a run and all that they speak of.

What is signed is a list in the form of `sha256sum`: every certificate, table and model with its
SHA-256. Ed25519 (RFC 8032), whose signature of one content by one key is always the same.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fedunlearn import checks, files
from fedunlearn.checks import Refused

LIST, SIGNATURE = "signed.sha256", "signed.sig"
"""What is signed, and the 64 bytes of its signature; both beside the certificates."""

MAKING = (
    "`openssl genpkey -algorithm ed25519 -out private.pem` makes a private key, and "
    "`openssl pkey -in private.pem -pubout -out public.pem` the public one of it."
)


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs; raises `Refused` for a file that holds none."""
    called = f"signing_key={checks.short(str(path))}"
    content = _pem(path, called)
    if b"PUBLIC KEY" in content:
        raise Refused(f"{called} holds a public key; a private one signs. {MAKING}")
    try:
        key = load_pem_private_key(content, None)
    except TypeError as error:
        raise Refused(
            f"{called} is locked by a password, which nobody could give during a run. Unlock a "
            "copy with `openssl pkey -in private.pem -out unlocked.pem`."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _damaged(called) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _another_kind(called)
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that checks signatures; raises `Refused` for a file that holds none."""
    called = f"The key {checks.short(str(path))}"
    content = _pem(path, called)
    if b"PRIVATE KEY" in content:
        raise Refused(
            f"{called} holds a private key, which belongs to whoever signs; a public one checks. "
            f"{MAKING}"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _damaged(called) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _another_kind(called)
    return key


def sign(folder: Path, key: Path, certificates: Iterable[Path], listed: Mapping[str, str]) -> None:
    """Sign the ``certificates`` of the run in ``folder`` and its files ``listed`` by SHA-256."""
    private = private_key(key)
    place = folder / "certificates"
    content = _content(folder, certificates, listed)
    files.write(place / LIST, content)
    files.write(place / SIGNATURE, private.sign(content))


def require_signature(
    folder: Path, key: Path | None, certificates: Iterable[Path], listed: Mapping[str, str]
) -> bool:
    """Return whether the run in ``folder`` is signed; with the public ``key`` it must be.

    Raises `Refused` for a list that is not the run's and, with ``key``, for a signature that is
    missing or was not made by its private key. Without ``key`` nothing is known of who signed.
    """
    place = folder / "certificates"
    public = None if key is None else public_key(key)
    content, signature = (_content_of(place / name) for name in (LIST, SIGNATURE))
    if content is None and signature is None and public is None:
        return False
    if content is None or signature is None:
        missing = place / (LIST if content is None else SIGNATURE)
        raise Refused(
            f"{folder} is not signed: {missing} is missing. signing_key=FILE of the run makes it, "
            "and nobody but the owner of that key can."
        )
    if public is not None:
        try:
            public.verify(signature, content)
        except InvalidSignature as error:
            raise Refused(
                f"{place / SIGNATURE} was not made with the private key of {key}, or "
                f"{place / LIST} was changed since: its owner vouches for nothing in this folder."
            ) from error
    if content != _content(folder, certificates, listed):
        raise Refused(
            f"{place / LIST} does not list the files of this run as they are: certificates, tables "
            "or models were added, taken out or changed after it was signed."
        )
    return True


def _content(folder: Path, certificates: Iterable[Path], listed: Mapping[str, str]) -> bytes:
    issued = {path.relative_to(folder).as_posix(): files.sha256(path) for path in certificates}
    every = sorted({**listed, **issued}.items())
    return "".join(f"{checksum}  {name}\n" for name, checksum in every).encode()


def _pem(path: Path, called: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{called} cannot be read: {error.strerror}. {MAKING}") from error


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from error


def _another_kind(called: str) -> Refused:
    return Refused(f"{called} holds a key of another kind than Ed25519. {MAKING}")


def _damaged(called: str) -> Refused:
    return Refused(f"{called} is no key in PEM format, or is damaged. {MAKING}")
