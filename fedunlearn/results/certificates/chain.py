"""The certificates of a run as a chain: each names the hash of the one before it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results import MANIFEST_FILE, read_manifest, require_this_version, require_written
from fedunlearn.results.certificates.certificate import FIRST, Certificate, config_hash
from fedunlearn.results.certificates.encoding import decode, digest, encode
from fedunlearn.results.certificates.signature import LIST, SIGNATURE, require_signature
from fedunlearn.results.certificates.text import text

HEAD_KEY = "certificates_head"
"""The part of a finished run's manifest that holds the SHA-256 of its last certificate."""

CERTIFICATES_FOLDER = "certificates"
"""Where they lie in a run's folder."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Certificates in the order in which they were issued."""

    certificates: tuple[Certificate, ...]
    head: str
    """SHA-256 of the last one's JSON file: whoever keeps it can tell that none was changed."""
    signed: bool = False
    """Whether there is a signature; `verify` has checked it only if it was given a key."""


def issue(
    folder: Path,
    drafts: Iterable[Certificate],
    write: Callable[[Path, bytes], Path] = files.write,
) -> list[Path]:
    """Write certificates of the run in ``folder``, behind those that are there; return the files.

    They are issued in the order of seed, strategy and request. One that is there already stays as
    it is, byte for byte, so that an interrupted run can go on. Raises `Refused` where the chain
    is broken, or where a certificate is there for another model or configuration. Each file is
    written whole by ``write``.
    """
    chain = _chain(folder / CERTIFICATES_FOLDER, unfinished=True)
    issued = {certificate.name: certificate for certificate in chain.certificates}
    head, written = chain.head, []
    for made in sorted(drafts, key=lambda made: made.case):
        path = folder / CERTIFICATES_FOLDER / f"{made.name}.json"
        if made.name in issued:
            if _subject(issued[made.name]) != _subject(made):
                raise Refused(
                    f"{path} was issued for another model, configuration or request than this "
                    "run's. Choose another folder with hydra.run.dir=FOLDER, or delete "
                    f"{path.parent}."
                )
        else:
            issued[made.name] = linked = replace(made, previous=head)
            # the JSON last: where it is, the text is too
            write(_readable(path), text(linked).encode())
            write(path, encode(linked))
            head = digest(linked)
        written += [path, _readable(path)]
    return written


def read(folder: Path) -> Chain:
    """Read all certificates of a run, and compare them with each other but not with its files.

    The head must be the one that the manifest of a finished run holds. Raises `Refused`, naming the
    file, as `verify` does.
    """
    chain = _chain(folder / CERTIFICATES_FOLDER, unfinished=False)
    there = (folder / MANIFEST_FILE).exists()
    noted = read_manifest(folder).get(HEAD_KEY, chain.head) if there else chain.head
    if noted != chain.head:
        raise Refused(
            f"{folder / CERTIFICATES_FOLDER} does not end with the certificate whose SHA-256 "
            f"{MANIFEST_FILE} holds under {HEAD_KEY}: the last ones are missing or were replaced."
        )
    return chain


def verify(folder: Path, key: Path | None = None) -> Chain:
    """Read all certificates of a run and compare them with each other and with its files.

    Raises `Refused`, naming the file, for a byte that was changed, a certificate that is missing
    between others, an unknown file among them, a model or a configuration that is not the
    certified one, a table or a model that is not the one whose SHA-256 the manifest lists; with
    a public ``key`` also unless whoever has the private one signed all this. Without it the whole
    chain can be replaced unnoticed, together with its head in the manifest.
    """
    configuration = _configuration(folder / "manifest.json")
    chain = read(folder)
    if not chain.certificates:
        raise Refused(
            f"{folder} holds no certificates: there is none in {folder / CERTIFICATES_FOLDER}. "
            "They are written when a run that serves a request is finished."
        )
    deleted = {
        purged.file
        for certificate in chain.certificates
        for purged in certificate.served.purged
        if purged.action == "deleted"
    }
    for certificate in chain.certificates:
        if certificate.config_sha256 != configuration:
            raise Refused(
                f"{folder / 'manifest.json'} holds another configuration than the one that "
                f"{CERTIFICATES_FOLDER}/{certificate.name}.json certifies: one of them was changed."
            )
        for file, wanted in certificate.models.items():
            path = folder / file
            if file in deleted and not path.exists():
                continue
            if _sha256(path) != wanted:
                raise Refused(
                    f"{path} is not the model that "
                    f"{CERTIFICATES_FOLDER}/{certificate.name}.json certifies: "
                    "it was changed or replaced."
                )
    listed = require_written(folder, absent=deleted)
    written = [folder / CERTIFICATES_FOLDER / f"{each.name}.json" for each in chain.certificates]
    issued = [each for path in written for each in (path, _readable(path))]
    return replace(chain, signed=require_signature(folder, key, issued, listed))


def _chain(place: Path, *, unfinished: bool) -> Chain:
    """Read every certificate in ``place`` and put them in order; ``unfinished`` as a run may be."""
    by_hash = {digest(made): made for made in _certificates(place, unfinished=unfinished)}
    followers: dict[str, str] = {}
    for hashed, made in by_hash.items():
        other = by_hash[followers.setdefault(made.previous, hashed)]
        if other is not made:
            raise Refused(
                f"{place / other.name}.json and {place / made.name}.json both claim to follow "
                "the same certificate: one of them is not of this chain."
            )
        if made.previous not in (FIRST, *by_hash):
            raise Refused(
                f"The certificate before {place / made.name}.json is missing or was replaced: no "
                "other has the hash that it names."
            )
    chain, head = list[Certificate](), FIRST
    while head in followers:
        head = followers[head]
        chain.append(by_hash[head])
    return Chain(tuple(chain), head)


def _certificates(place: Path, *, unfinished: bool) -> Iterator[Certificate]:
    for path in sorted(place.rglob("*")):
        # what a killed process began to write starts with a dot, and is read by nobody
        if path.is_dir() or path.name.startswith(".") or path.name in (LIST, SIGNATURE):
            continue
        if path.suffix == ".json":
            yield _certificate(place, path)
        elif path.suffix != ".md":
            raise Refused(f"{path} is no certificate: take it out of {place}.")
        elif not unfinished and not path.with_suffix(".json").exists():
            raise Refused(
                f"{path} stands alone: {path.with_suffix('.json').name} is missing. Bring it back."
            )


def _certificate(place: Path, path: Path) -> Certificate:
    """Read one certificate and compare it with its name and its readable text."""
    content = _read(path)
    try:
        certificate = decode(content)
    except ValueError as error:
        raise Refused(
            f"{path} is not a certificate as it was issued: {error}. Bring back an intact copy."
        ) from error
    if path != place / f"{certificate.name}.json":
        raise Refused(f"{path} is the certificate {certificate.name}: it was renamed or copied.")
    if _read(_readable(path)) != text(certificate).encode():
        raise Refused(
            f"{_readable(path)} does not say what {path.name} says: one of the two was changed. "
            "Bring back an intact copy."
        )
    return certificate


def _subject(made: Certificate) -> tuple[object, ...]:
    """Return what a certificate is about, which does not depend on when it was issued."""
    request = (made.clients, made.served.round)
    return (*request, made.config_sha256, made.model_before, made.model_after)


def _configuration(manifest: Path) -> str:
    content = read_manifest(manifest.parent)
    if "config" not in content:
        raise Refused(f"{manifest} holds no configuration: bring back an intact copy.")
    require_this_version(manifest.parent, content.get("versions"))
    return config_hash(content["config"])


def _readable(path: Path) -> Path:
    return path.with_suffix(".md")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> Refused:
    return Refused(f"{path} cannot be read: {error.strerror}. Bring back an intact copy.")
