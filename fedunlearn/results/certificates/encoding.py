"""Certificates as JSON: one certificate has one form, byte for byte, and nothing else is read."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from numbers import Integral, Real
from types import NoneType
from typing import Any

from fedunlearn.results import COST_COLUMNS, EVERYTHING
from fedunlearn.results.certificates.certificate import Audited, Certificate, Purged, Served
from fedunlearn.results.certificates.thresholds import Judged

VERSION = 2
"""Of the format, that of the readable text included; files of any other are refused."""

_JUDGED: dict[str, Any] = {
    "metric": str,
    "value": (float, NoneType),
    "retrained": (float, NoneType),
    "spread": (float, NoneType),
    "seeds": int,
    "threshold": (float, NoneType),
    "conclusive": bool,
    "gap": (float, NoneType),
    "verdict": str,
}

_CERTIFICATE: dict[str, Any] = {
    "version": int,
    "seed": int,
    "strategy": str,
    "request": int,
    "clients": [int],
    "round": int,
    "issued": str,
    "hyperparameters": dict,
    "assumptions": [str],
    "config_sha256": str,
    "fedunlearn": str,
    "commit": (str, NoneType),
    "model_before_sha256": str,
    "model_after_sha256": str,
    "purged": {
        "files": [{"file": str, "clients": [int], "bytes": int, "action": str}],
        "rewritten": int,
        "deleted": int,
        "bytes": int,
    },
    "audit": {"findings": [str], "files": int, "objects": int, "blank": int},
    "costs": {name: int if kind == "int64" else float for name, kind in COST_COLUMNS.items()},
    "metrics": [_JUDGED],
    "answer": str,
    "reason": str,
    "forgotten": (bool, NoneType),
    "verdict": str,
    "previous": str,
}
"""The fields of a certificate: types, {fields of an object} and [the type of a list's items]."""


_OPTIONAL: dict[str, tuple[Any, object]] = {"owners": ([str], ()), "scope": (str, EVERYTHING)}
"""Types and usual values of fields that stand only where they have another value."""


def encode(certificate: Certificate) -> bytes:
    """Return the content of a certificate's JSON file: sorted keys, shortest floats, no nan."""
    served = certificate.served
    content = {
        "version": VERSION,
        "seed": certificate.seed,
        "strategy": certificate.strategy,
        "request": certificate.request,
        "clients": certificate.clients,
        "round": served.round,
        "issued": certificate.issued,
        "hyperparameters": served.hyperparameters,
        "assumptions": served.assumptions,
        "config_sha256": certificate.config_sha256,
        "fedunlearn": certificate.fedunlearn,
        "commit": certificate.commit,
        "model_before_sha256": served.model_before,
        "model_after_sha256": served.model_after,
        "purged": {
            "files": [asdict(purged) for purged in served.purged],
            "rewritten": sum(purged.action == "rewritten" for purged in served.purged),
            "deleted": sum(purged.action == "deleted" for purged in served.purged),
            "bytes": sum(purged.bytes for purged in served.purged),
        },
        "audit": asdict(served.audit),
        "costs": certificate.costs,
        "metrics": [{**asdict(m), "gap": m.gap, "verdict": m.verdict} for m in certificate.metrics],
        "answer": certificate.answer,
        "reason": certificate.reason,
        "forgotten": certificate.forgotten,
        "verdict": certificate.verdict,
        "previous": certificate.previous,
        **{
            name: getattr(certificate, name)
            for name, (_, usual) in _OPTIONAL.items()
            if getattr(certificate, name) != usual
        },
    }
    text = json.dumps(plain(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def decode(content: bytes) -> Certificate:
    """Read what `encode` wrote; raises ValueError for every other sequence of bytes."""
    try:
        parsed = json.loads(content)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    if isinstance(parsed, dict) and parsed.get("version") != VERSION:
        raise ValueError(
            f"it has version {parsed.get('version')!r}; this version of fedunlearn reads {VERSION}"
        )
    there = set(parsed) if isinstance(parsed, dict) else set()
    more = {name: kind for name, (kind, _) in _OPTIONAL.items() if name in there}
    _check(parsed, {**_CERTIFICATE, **more}, "it")
    judged = [f.name for f in fields(Judged)]
    certificate = Certificate(
        seed=parsed["seed"],
        strategy=parsed["strategy"],
        request=parsed["request"],
        clients=tuple(parsed["clients"]),
        served=Served(
            round=parsed["round"],
            hyperparameters=parsed["hyperparameters"],
            model_before=parsed["model_before_sha256"],
            model_after=parsed["model_after_sha256"],
            purged=tuple(
                Purged(**{**row, "clients": tuple(row["clients"])})
                for row in parsed["purged"]["files"]
            ),
            audit=Audited(**{**parsed["audit"], "findings": tuple(parsed["audit"]["findings"])}),
            assumptions=tuple(parsed["assumptions"]),
        ),
        costs=parsed["costs"],
        metrics=tuple(Judged(**{name: row[name] for name in judged}) for row in parsed["metrics"]),
        config_sha256=parsed["config_sha256"],
        fedunlearn=parsed["fedunlearn"],
        commit=parsed["commit"],
        issued=parsed["issued"],
        answer=parsed["answer"],
        reason=parsed["reason"],
        owners=tuple(parsed.get("owners", ())),
        scope=parsed.get("scope", EVERYTHING),
        previous=parsed["previous"],
    )
    if encode(certificate) != content:
        raise ValueError("it is not as fedunlearn wrote it")
    return certificate


def digest(certificate: Certificate) -> str:
    """Return the SHA-256 of a certificate's JSON file, by which the next one names it."""
    return hashlib.sha256(encode(certificate)).hexdigest()


def plain(value: object) -> object:
    """Return values as JSON has them: nan becomes null, an object its class and its fields."""
    match value:
        case None | str() | bool():
            return value
        case Mapping():
            return {str(name): plain(part) for name, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            if math.isinf(number):
                return str(number)
            return None if math.isnan(number) else number
    kind = value if isinstance(value, type) else type(value)
    name = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    if not is_dataclass(value) or isinstance(value, type):
        return name
    return {**name, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}


def hyperparameters(strategy: object) -> dict[str, object]:
    """Return a strategy's class as ``_target_`` and its fields, as its YAML has them."""
    fields = plain(strategy)
    assert isinstance(fields, dict)
    return fields


def _check(value: Any, wanted: Any, where: str) -> None:
    """Raise ValueError unless ``value`` has exactly the fields and types ``wanted``."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict) or value.keys() != wanted.keys():
            raise ValueError(f"{where} does not have the fields {', '.join(wanted)}")
        for name, part in wanted.items():
            _check(value[name], part, f"its {name}")
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        for part in value:
            _check(part, wanted[0], f"a part of {where}")
    elif type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
        raise ValueError(f"{where} is a {type(value).__name__}")
