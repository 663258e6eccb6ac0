"""A script, not a module: it writes the docstrings of the running Python's standard library to a JSON file.

`app.demo.corpus` runs it with `python -I -S` in a process of its own, because importing 300 modules leaves traces
(patched signal handlers, registered atexit hooks) that no process of ours should carry. It imports nothing from `app`,
so that any Python can run it. Merging, cutting and naming are not its business: it reports what is there.

Usage: python -I -S _collect_stdlib.py OUTPUT.json
"""

import enum
import functools
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator

# Open a browser, print, need a display, or are test suites and tools rather than a library.
NOT_A_LIBRARY = {
    "antigravity",
    "this",
    "tkinter",
    "idlelib",
    "test",
    "turtle",
    "turtledemo",
    "lib2to3",
    "pydoc_data",
}
# Gone since Python 3.12, and large: with it the corpus of 3.11 would hardly compare.
GONE = {"distutils"}
# Implementations of os, os.path, urllib.request, dis, xml.parsers.expat and re: the same text, names nobody asks for.
IMPLEMENTATIONS = {
    "nt",
    "posix",
    "ntpath",
    "posixpath",
    "genericpath",
    "nturl2path",
    "opcode",
    "pyexpat",
}
IMPLEMENTATIONS_OF_RE = {"sre_compile", "sre_constants", "sre_parse"}
EXCLUDED_TOP = NOT_A_LIBRARY | GONE | IMPLEMENTATIONS | IMPLEMENTATIONS_OF_RE
# Parts of a package that are tests; and `encodings`, whose submodules are 120 generated tables.
EXCLUDED_PARTS = frozenset({"test", "tests", "idle_test"})
NO_SUBMODULES = frozenset({"encodings"})

# Defaults that show an address, an order of hashing, a path, or the environment with all its secrets.
UNSTABLE_SIGNATURE = re.compile(r" at 0x|<_io\.|<module |frozenset\(|=\{|environ\(|='/[^']*/")
LONGEST_SIGNATURE = 300

ABSENT = object()


def is_public(name: str) -> bool:
    return not name.startswith("_")


def guarded(get: "Callable[[], object]") -> object:
    """What `get` returns, or ABSENT when it raises anything."""
    try:
        return get()
    except BaseException:  # a module for another system, a sys.exit on import: none may end the run
        return ABSENT


def import_or_none(name: str) -> "types.ModuleType | None":
    module = guarded(lambda: importlib.import_module(name))
    return module if isinstance(module, types.ModuleType) else None


def walk_modules(failed: "list[str]") -> "Iterator[tuple[str, types.ModuleType]]":
    """Every public module with its public name, in a fixed order; names that do not import go to `failed`."""
    waiting = sorted((name for name in sys.stdlib_module_names if is_public(name)), reverse=True)
    while waiting:
        name = waiting.pop()
        if name in EXCLUDED_TOP or EXCLUDED_PARTS.intersection(name.split(".")):
            continue
        module = import_or_none(name)
        if module is None:
            failed.append(name)
            continue
        yield name, module
        if name == "os":
            yield "os.path", os.path
        if name in NO_SUBMODULES:
            continue
        children = {child.name for child in pkgutil.iter_modules(getattr(module, "__path__", None) or [])}
        waiting += sorted((f"{name}.{child}" for child in children if is_public(child)), reverse=True)


def docstring(thing: object) -> str:
    text = guarded(lambda: thing.__doc__)
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def signature(thing: object, *, drop_first: bool) -> str:
    """`(a, b=1)`, "(...)" for one that differs from run to run or from machine to machine, or "" when there is none."""
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return ""  # how members are looked up, not what a caller writes
    found = guarded(lambda: inspect.signature(thing))  # type: ignore[arg-type]
    if not isinstance(found, inspect.Signature):
        return ""
    if drop_first:
        found = found.replace(parameters=list(found.parameters.values())[1:])
    shown = str(found)
    return "(...)" if UNSTABLE_SIGNATURE.search(shown) or len(shown) > LONGEST_SIGNATURE else shown


def public_names(name: str, module: types.ModuleType) -> "Iterator[tuple[str, object]]":
    """What `module` offers: its `__all__`, or else what it defines itself (or takes from a private C module)."""
    listed = getattr(module, "__all__", None)
    for key in sorted(set(listed) if listed is not None else set(vars(module))):
        if not is_public(key):
            continue
        thing = guarded(functools.partial(getattr, module, key))
        if thing is ABSENT or isinstance(thing, types.ModuleType):
            continue
        if listed is None and name != "builtins":  # `open` says that it lives in io, and is everyone's all the same
            home = getattr(thing, "__module__", None)
            if isinstance(home, str) and home != name and is_public(home) and home != module.__name__:
                continue
        yield key, thing


MEMBER_TYPES = (
    property,
    classmethod,
    staticmethod,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
HAS_SELF = (types.FunctionType, types.MethodDescriptorType)


class Collector:
    """Turns public things into records: [name, kind, signature, docstring, named as defined, inherited]."""

    def __init__(self) -> None:
        self.records: list[list[object]] = []

    def add(
        self, name: str, kind: str, sig: str, thing: object, *, named: object = None, inherited: bool = False
    ) -> None:
        text = docstring(thing)
        if not text or text == docstring(object.__init__):
            return
        own_name = getattr(thing if named is None else named, "__name__", None)
        if isinstance(own_name, str) and own_name.startswith("__"):
            return  # keyword.iskeyword is the bound `__contains__` of a set, and documents that
        as_defined = not isinstance(own_name, str) or own_name == name.rpartition(".")[2]
        self.records.append([name, kind, sig, text, as_defined, inherited])

    def add_module(self, name: str, module: types.ModuleType) -> None:
        text = docstring(module)
        if text:
            self.records.append([name, "module", "", text, True, False])
        prefix = "" if name == "builtins" else name + "."
        for key, thing in public_names(name, module):
            if isinstance(thing, type):
                self.add_class(prefix + key, thing)
            elif inspect.isroutine(thing):
                self.add(prefix + key, "function", signature(thing, drop_first=False), thing)
            elif docstring(thing) != docstring(type(thing)):
                # typing.Optional documents itself; typing.List repeats the text of list, so it never names a passage.
                self.add(
                    prefix + key,
                    "object",
                    "",
                    thing,
                    inherited=hasattr(thing, "__origin__"),
                )

    def add_class(self, name: str, cls: type, *, depth: int = 0) -> None:
        # concurrent.futures.ThreadPoolExecutor has no docstring; its initialiser has.
        says = cls if docstring(cls) else vars(cls).get("__init__")
        self.add(name, "class", signature(cls, drop_first=False), says, named=cls)
        members = getattr(cls, "__members__", {}) if issubclass(cls, enum.Enum) else {}
        seen: set[str] = set()
        for owner in cls.__mro__:
            if owner is not cls and (owner.__module__ == "builtins" or owner is enum.Enum):
                continue  # every exception would list with_traceback, every named tuple count and index
            for key, raw in sorted(vars(owner).items()):
                if not is_public(key) or key in seen or key in members:
                    continue
                seen.add(key)
                # What a private base defines belongs to the public class that offers it.
                inherited = owner is not cls and is_public(owner.__name__)
                if isinstance(raw, type):
                    if depth == 0 and not inherited and raw.__qualname__.startswith(cls.__qualname__ + "."):
                        self.add_class(f"{name}.{key}", raw, depth=1)
                elif isinstance(raw, MEMBER_TYPES) or inspect.isroutine(raw) or hasattr(type(raw), "__set_name__"):
                    self.add_member(f"{name}.{key}", key, cls, raw, inherited=inherited)

    def add_member(self, name: str, key: str, cls: type, raw: object, *, inherited: bool) -> None:
        if not isinstance(raw, MEMBER_TYPES) and docstring(raw) == docstring(type(raw)):
            return
        is_data = isinstance(raw, (property, types.GetSetDescriptorType, types.MemberDescriptorType))
        thing = ABSENT if is_data else guarded(lambda: getattr(cls, key))
        kind, sig = "property", ""
        if thing is not ABSENT and callable(thing):
            kind, sig = "method", signature(thing, drop_first=isinstance(raw, HAS_SELF))
        # A static method of a built-in type (`str.maketrans`) answers with the documentation of `staticmethod`.
        documented = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        self.add(name, kind, sig, documented, inherited=inherited)


def main(output: str) -> None:
    warnings.simplefilter("ignore")
    devnull = os.open(os.devnull, os.O_RDWR)
    for stream in (
        0,
        1,
        2,
    ):  # nothing an import prints or asks may reach the person who started us
        os.dup2(devnull, stream)
    failed: list[str] = []
    collector = Collector()
    for name, module in walk_modules(failed):
        collector.add_module(name, module)
    topics = getattr(import_or_none("pydoc_data.topics"), "topics", {})
    found = {
        "records": collector.records,
        "topics": dict(topics),
        "failed": failed,
    }
    with open(output, "w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=True, sort_keys=True)
    os._exit(0)  # the exit hooks of 300 imported modules have no business here


if __name__ == "__main__":
    main(sys.argv[1])
