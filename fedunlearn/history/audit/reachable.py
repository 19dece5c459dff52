"""Every object that can be reached from some, and by which path."""

import gc
import io
import sys
from array import array
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from mmap import mmap
from types import (
    AsyncGeneratorType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

import numpy as np
import torch
from torch import Tensor

NUMBERS = (int, float, complex, bool, type(None), CodeType, torch.dtype, torch.device)
"""Types of objects in which nothing can be kept."""

FOREIGN = sys.stdlib_module_names | {"flwr", "numpy", "pandas", "ray", "rich", "torch"}
"""Packages whose classes are not entered; their instances are."""

Found = Iterator[tuple[str, object]]
"""Paths and objects."""


def reachable(roots: Mapping[str, object], beyond: Collection[object] = ()) -> Found:
    """Yield each object that can be reached from ``roots`` once, by one of its shortest paths.

    Attributes and slots, items, closures, default arguments, what suspended generators and frames
    hold, and whatever else Python's garbage collector knows of. Modules are not entered unless they
    are roots, nor are weak references, classes of other packages, and objects of ``beyond``.
    """
    # what was seen is held, so that no other object takes its id
    seen: dict[int, object] = {id(thing): thing for thing in beyond}
    waiting = deque(roots.items())
    for path, root in roots.items():
        if isinstance(root, ModuleType):
            waiting += [(f"{path}.{name}", value) for name, value in vars(root).items()]
    while waiting:
        path, thing = waiting.popleft()
        if isinstance(thing, NUMBERS) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        yield path, thing
        waiting += _within(path, thing)


def _within(path: str, thing: object) -> Found:
    """Yield what one object holds."""
    if isinstance(thing, ModuleType | str | bytes | bytearray) or (
        isinstance(thing, type) and thing.__module__.partition(".")[0] in FOREIGN
    ):
        return
    if isinstance(thing, dict):
        for key, value in list(dict.items(thing)):
            yield f"{path}[{_short(key)}]", value
            yield f"{path}, key {_short(key)}", key
    elif isinstance(thing, list | tuple | deque):
        yield from ((f"{path}[{place}]", item) for place, item in enumerate(thing))
    elif isinstance(thing, set | frozenset):
        yield from ((f"{path}, a member", item) for item in thing)
    yield from _named(path, thing)
    if not isinstance(thing, FunctionType):  # would lead to the module
        dictionary = _dictionary(thing)
        for other in gc.get_referents(thing):
            if other is not dictionary:
                yield f"{path}, its {type(other).__name__}", other


def _named(path: str, thing: object) -> Found:
    """Yield what an object holds under a name."""
    match thing:
        case FunctionType():
            cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
            yield from ((f"{path}, closed over {name}", cell) for name, cell in cells)
            defaults = chain(
                enumerate(thing.__defaults__ or ()), (thing.__kwdefaults__ or {}).items()
            )
            yield from ((f"{path}, default argument {name}", value) for name, value in defaults)
        case CellType():
            yield from ((path, content) for content in gc.get_referents(thing))
        case MethodType():
            yield from ((f"{path}.__self__", thing.__self__), (f"{path}.__func__", thing.__func__))
        case GeneratorType():
            yield from _locals(path, thing.gi_frame)
        case CoroutineType():
            yield from _locals(path, thing.cr_frame)
        case AsyncGeneratorType():
            yield from _locals(path, thing.ag_frame)
        case FrameType():
            yield from _locals(path, thing)
        case np.ndarray():
            yield f"{path}.base", thing.base
            if thing.dtype.hasobject and not thing.dtype.names:
                yield from ((f"{path}[{place}]", item) for place, item in enumerate(thing.flat))
        case Tensor():
            yield f"{path}.grad", thing.grad if thing.is_leaf else None
            if thing.layout != torch.strided:
                yield f"{path}.values()", _values(thing)
        case memoryview():
            yield f"{path}.obj", thing.obj
    yield from ((f"{path}.{name}", held) for name, held in _attributes(thing).items())


def _attributes(thing: object) -> dict[str, object]:
    """Return the attributes and slots that hold something; properties are not asked."""
    held: dict[str, object] = {}
    for owner in type(thing).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            hidden = name.startswith("__") and not name.endswith("__")
            place = f"_{owner.__name__.lstrip('_')}{name}" if hidden else name
            slot = owner.__dict__.get(place)
            if slot is not None and hasattr(slot, "__get__"):
                try:
                    held[name] = slot.__get__(thing, owner)
                except AttributeError:
                    continue  # the slot is empty
    return held | dict(_dictionary(thing) or {})


def _dictionary(thing: object) -> Mapping[str, object] | None:
    """Return where an object keeps its attributes, without asking its class for anything."""
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, Mapping) else None


def _locals(path: str, frame: FrameType | None) -> Found:
    if frame is not None:
        yield from ((f"{path}, local {name}", held) for name, held in frame.f_locals.items())


def _values(sparse: Tensor) -> Tensor | None:
    if sparse.layout == torch.sparse_coo:
        return sparse._values()
    return None if sparse.layout == torch._mkldnn else sparse.values()  # type: ignore[attr-defined]


def _short(key: object) -> str:
    if isinstance(key, str | int | float | bool | tuple | frozenset):
        text = repr(key)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return type(key).__name__


def memory(thing: object) -> np.ndarray | None:
    """Return the bytes of an object that is a buffer, uint8 [n]; None for any other.

    Of a view all that it keeps alive is returned: the whole storage of a tensor, the whole of the
    array. A list of floats is read as float32. Raises ValueError for what was closed and holds
    nothing any more, and RuntimeError for memory that cannot be read.
    """
    if isinstance(thing, torch.Tensor):
        strided = thing.layout == torch.strided and thing.device.type != "meta"
        return memory(thing.untyped_storage()) if strided else None
    if isinstance(thing, torch.TypedStorage):
        return memory(thing._untyped_storage)
    if isinstance(thing, torch.UntypedStorage):
        content = torch.empty(0, dtype=torch.uint8, device=thing.device).set_(thing)
        return content.cpu().numpy()
    if isinstance(thing, np.ndarray):
        while isinstance(thing.base, np.ndarray):
            thing = thing.base
        return None if thing.dtype.hasobject else thing.ravel(order="K").view(np.uint8)
    if isinstance(thing, io.BytesIO):
        return np.frombuffer(thing.getvalue(), np.uint8)
    if isinstance(thing, memoryview):
        return np.frombuffer(thing.tobytes(), np.uint8)
    if isinstance(thing, bytes | bytearray | array | mmap):
        return np.frombuffer(thing, np.uint8)
    if isinstance(thing, str):
        return np.frombuffer(thing.encode(errors="surrogatepass"), np.uint8)
    if isinstance(thing, list | tuple) and thing and all(type(item) is float for item in thing):
        with np.errstate(over="ignore"):
            return np.array(thing, np.float32).view(np.uint8)
    return None
