"""Methods, backbones, label noise and datasets that are defined outside this package.

An extension is a class in a Python file of the user's, or in an installed package that announces it
as an entry point. Its name consists of the class name and the first digits of the SHA-256 of its
source, as in `LabelSmoothing@1f3c9a2b7d4e`: a changed source is another extension, whereas the
location of the source does not matter. `RunSpec.code` holds the complete SHA-256.

Only `load_file` executes a file; whether that is allowed is a decision of its caller.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from trainables.errors import CodeError, FieldError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

Kind = Literal["method", "backbone", "noise", "dataset"]
Base = TypeVar("Base")

GROUPS: dict[Kind, str] = {
    "method": "nal_orchestrator.methods",
    "backbone": "nal_orchestrator.backbones",
    "noise": "nal_orchestrator.noise",
    "dataset": "nal_orchestrator.datasets",
}
"""Entry-point groups under which installed packages announce extensions."""

MARK = "@"
"""Separator of class name and digits in the name of an extension."""
DIGITS = 12
"""Number of hexadecimal digits of the SHA-256 in the name of an extension."""

OWN_PACKAGES = ("orchestrator", "reports", "search_spaces", "trainables")
"""Top-level packages of this project."""

_CLASS = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class CodeFile:
    """Content of a Python file that defines extensions.

    Attributes:
        path: path of the file, for messages and tracebacks.
        content: bytes of the file, which are hashed and executed.
    """

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def refusal(self) -> CodeError:
        """Return the error for a file that the user has not allowed."""
        return CodeError(
            f"{self.path} (SHA-256 {self.sha256}) is code that would be executed, and has not been "
            "allowed: read it, then add --allow-code"
        )


_files: dict[str, CodeFile] = {}
"""Files that this process has executed, by SHA-256."""
_modules: dict[str, ModuleType] = {}
"""Modules of these files, by SHA-256."""
_defaulted: set[tuple[type, str]] = set()
"""Class and name of every attribute that was set to a default."""


def is_extension(name: str) -> bool:
    """Return whether a name in a study or spec stands for an extension."""
    return MARK in name


def extension_name(class_name: str, sha256: str) -> str:
    """Return the name of an extension.

    Args:
        class_name: name of the class; for label noise the scenario, which begins with that name.
        sha256: SHA-256 of the source.
    """
    return f"{class_name}{MARK}{sha256[:DIGITS]}"


def without_hash(name: str) -> str:
    """Return the name of an extension without the digits of its SHA-256."""
    return name.partition(MARK)[0]


def loaded_files() -> tuple[CodeFile, ...]:
    """Return the files that this process has executed."""
    return tuple(_files.values())


def load_file(file: CodeFile) -> None:
    """Execute a file, unless this process has executed the same content before.

    Raises:
        CodeError: if the file imports something that is no installed package, or cannot be
            executed.
    """
    if file.sha256 in _modules:
        return
    _check_imports(file)
    module = ModuleType(f"nal_extension_{file.sha256[:DIGITS]}")
    # Dataclasses and type hints look up their module by name.
    sys.modules[module.__name__] = module
    try:
        code = compile(file.content, file.path, "exec", dont_inherit=True)
        with redirect_stdout(sys.stderr):  # JSON may follow on standard output
            exec(code, module.__dict__)  # noqa: S102 - the caller decided
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        place = _last_place(error, {file.path}) or file.path
        raise CodeError(f"{place} cannot be executed: {_one_line(error)}") from error
    _files[file.sha256] = file
    _modules[file.sha256] = module


def place_in_code(error: BaseException) -> str:
    """Return file and line at which an exception left a file of extensions; "" if it did not."""
    return _last_place(error, {file.path for file in _files.values()})


def _last_place(error: BaseException, paths: Collection[str]) -> str:
    """Return the innermost file and line of a traceback among some files; "" if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames if frame.filename in paths]
    return places[-1] if places else ""


def extension_class(kind: Kind, name: str, base: type[Base]) -> type[Base]:
    """Return the class of an extension, with its `name` and the defaults of its declarations set.

    Args:
        kind: kind of the extension.
        name: name of the extension, such as `LabelSmoothing@1f3c9a2b7d4e`.
        base: base class of all extensions of this kind.

    Raises:
        FieldError: if the source has not been loaded and no installed package announces it.
        CodeError: if the class is not a complete subclass of `base`.
    """
    sha256, entry_point = _find_source(kind, name)
    if entry_point is not None:
        where = f"entry point {entry_point.name} of {distribution_name(entry_point)}"
        return _prepare_class(_import(entry_point), base, name, where)
    class_name, module, where = without_hash(name), _modules[sha256], _files[sha256].path
    value = getattr(module, class_name, None)
    if isinstance(value, type) and value.__module__ != module.__name__:
        raise CodeError(f"{where}: {class_name} is defined in {value.__module__}: write a subclass")
    return _prepare_class(value, base, name, where)


def class_name_of(scenario: str) -> str:
    """Return the class name at the beginning of a scenario; "" if there is none."""
    match = _CLASS.match(scenario)
    return match.group() if match else ""


def sha256_of(kind: Kind, name: str) -> str:
    """Return the SHA-256 of the source of an extension.

    Raises:
        FieldError: if the source has not been loaded and no installed package announces it.
    """
    return _find_source(kind, name)[0]


def _find_source(kind: Kind, name: str) -> tuple[str, metadata.EntryPoint | None]:
    """Return the SHA-256 of the source of an extension, and its entry point if it is no file.

    Raises:
        FieldError: if the source has not been loaded and no installed package announces it.
    """
    class_name, _, digits = name.partition(MARK)
    for sha256 in _modules:
        if sha256[:DIGITS] == digits:
            return sha256, None
    for entry_point in announced(kind).values():
        sha256 = package_sha256(entry_point)
        # The name of label noise is a scenario, which goes on after the class name.
        if entry_point.attr == class_name_of(class_name) and sha256[:DIGITS] == digits:
            return sha256, entry_point
    raise FieldError(
        kind,
        f"the source of {kind} {name} is not available here: it is neither a file of the study nor "
        f"in an installed package whose source has this SHA-256",
    )


def code_of(names: Iterable[tuple[Kind, str]]) -> dict[str, str]:
    """Return the SHA-256 of the source of each extension among names, by the extension's name."""
    return {name: sha256_of(kind, name) for kind, name in names if is_extension(name)}


def is_loaded(file: CodeFile) -> bool:
    """Return whether this process has executed the content of a file."""
    return file.sha256 in _modules


@cache
def announced(kind: Kind) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of the extensions that installed packages announce, by name.

    Raises:
        CodeError: if two packages announce the same name, or if an entry point does not name a
            class at the top level of a module.
    """
    entry_points: dict[str, metadata.EntryPoint] = {}
    modules: dict[tuple[str, str], str] = {}
    for entry_point in metadata.entry_points(group=GROUPS[kind]):
        other = entry_points.setdefault(entry_point.name, entry_point)
        where = f"entry point {entry_point.name} in the group {GROUPS[kind]}"
        if other is not entry_point:
            packages = f"{distribution_name(other)} and {distribution_name(entry_point)}"
            raise CodeError(f"{packages} both announce the {where}: uninstall one of them")
        if not (entry_point.attr or "").isidentifier():
            raise CodeError(f"{where} of {distribution_name(entry_point)}: write MODULE:CLASS")
        # Class name and hash are the identity: the module must follow from them.
        key = (distribution_name(entry_point), entry_point.attr)
        if modules.setdefault(key, entry_point.module) != entry_point.module:
            raise CodeError(f"{key[0]} announces two classes with the name {key[1]}: rename one")
    return entry_points


def announced_name(kind: Kind, word: str) -> str | None:
    """Return the name of an extension that a study names by its entry point.

    Args:
        kind: kind of the extension.
        word: name of the entry point; for label noise a scenario that begins with that name.

    Returns:
        Name with the digits of the package's SHA-256; None if no package announces it.
    """
    # The longest name first: of `pair` and `pair-flip`, `pair-flip-0.3` begins with both.
    for name in sorted(announced(kind), key=len, reverse=True):
        entry_point, rest = announced(kind)[name], word.removeprefix(name)
        if rest != word and (not rest or (kind == "noise" and rest.startswith("-"))):
            return extension_name(f"{entry_point.attr}{rest}", package_sha256(entry_point))
    return None


@cache
def package_sha256(entry_point: metadata.EntryPoint) -> str:
    """Return the SHA-256 of the Python files of the distribution that announces an entry point.

    It covers the names and contents of the files in the order of their names. For an editable
    installation these are the files of the package that contains the entry point.

    Raises:
        CodeError: if one of the files cannot be read.
    """
    content = hashlib.sha256()
    for name, path in sorted(_python_files(entry_point)):
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise CodeError(
                f"cannot read {path} of {distribution_name(entry_point)} ({error.strerror}): "
                "install it again"
            ) from error
        content.update(f"{name}\0{sha256}\n".encode())
    return content.hexdigest()


def _python_files(entry_point: metadata.EntryPoint) -> Iterator[tuple[str, Path]]:
    """Yield the relative name and the path of each Python file behind an entry point."""
    top = entry_point.module.partition(".")[0]
    files = _files_of(entry_point.dist, top)
    if files:
        yield from ((file.as_posix(), Path(str(file.locate()))) for file in files)
        return
    # The files of an editable installation are in the developer's folder and are not listed.
    spec = importlib.util.find_spec(top)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).rglob("*.py"):
            yield path.relative_to(Path(folder).parent).as_posix(), path
    if spec and not spec.submodule_search_locations and spec.origin:
        yield Path(spec.origin).name, Path(spec.origin)


def _files_of(distribution: metadata.Distribution | None, top: str) -> list[metadata.PackagePath]:
    """Return the Python files of a distribution; [] if it does not list the top-level module."""
    files = [file for file in (distribution and distribution.files) or () if file.suffix == ".py"]
    return files if any(file.parts[0] in (top, f"{top}.py") for file in files) else []


def distribution_name(entry_point: metadata.EntryPoint) -> str:
    """Return the name of the installed package that announces an entry point, for messages."""
    return entry_point.dist.name if entry_point.dist else "an installed package"


def _import(entry_point: metadata.EntryPoint) -> object:
    """Import the object that an entry point names.

    Raises:
        CodeError: if the import fails.
    """
    try:
        return entry_point.load()
    except Exception as error:
        raise CodeError(
            f"entry point {entry_point.name} of {distribution_name(entry_point)} cannot be "
            f"imported: {_one_line(error)}"
        ) from error


def _one_line(error: BaseException) -> str:
    """Return the type and the message of an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _prepare_class(value: object, base: type[Base], name: str, where: str) -> type[Base]:
    """Check the class of an extension, and set its name and the defaults of its declarations.

    Args:
        value: object that must be the class; None if its module has none of its name.
        base: base class of all extensions of this kind.
        name: name of the extension.
        where: place of the class, for messages.

    Raises:
        CodeError: if the class is not a complete subclass of `base`.
    """
    class_name, _, digits = name.partition(MARK)
    if not isinstance(value, type) or not issubclass(value, base):
        fault = (
            f"there is no class {class_name}"
            if value is None
            else f"{class_name} is no subclass of {base.__name__}"
        )
        raise CodeError(f"{where}: {fault}: write `class {class_name}({base.__name__})`")
    if value.__module__.partition(".")[0] in OWN_PACKAGES:
        raise CodeError(f"{where}: {class_name} is defined in {value.__module__}: use its own name")
    if value.__name__ != class_name:
        raise CodeError(f"{where}: {class_name} is another name of {value.__name__}: use that one")
    declared: Any = value
    if inspect.isabstract(declared):
        missing = ", ".join(sorted(declared.__abstractmethods__))
        raise CodeError(f"{where}: class {class_name} does not define {missing}")
    if "name" in base.__annotations__:
        declared.name = name
    defaults = {
        "title": class_name,
        "source": f"{Path(where).name}, SHA-256 {digits}",
        "licence": "not stated",
        "name_forms": (class_name,),
    }
    # A title that is inherited from a class of this package belongs to that class.
    outside = [c for c in value.__mro__ if c.__module__.partition(".")[0] not in OWN_PACKAGES]
    for attribute, default in defaults.items():
        declaring = [
            c for c in outside if attribute in vars(c) and (c, attribute) not in _defaulted
        ]
        if attribute in base.__annotations__ and not declaring:
            setattr(declared, attribute, default)
            _defaulted.add((value, attribute))
    return value


def _check_imports(file: CodeFile) -> None:
    """Check that a file imports only installed packages.

    Another module in its folder would be executed without being hashed or sent to workers.

    Raises:
        CodeError: if the file imports something else, or is not valid Python.
    """
    try:
        file.content.decode()
        tree = ast.parse(file.content, file.path)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise CodeError(f"{file.path}{line} is no Python: {text}") from error
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        for name in names:
            if not _is_installed(name.partition(".")[0]):
                raise CodeError(
                    f"{file.path}:{node.lineno}: '{name}' is no installed package: a file that a "
                    "study names may import installed packages only; put its content into the "
                    "same file, or install it"
                )


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Return the names of the distributions that provide each top-level name."""
    return metadata.packages_distributions()


@cache
def _is_installed(top: str) -> bool:
    """Return whether a top-level name belongs to Python, this project or an installed package."""
    if top in OWN_PACKAGES:
        return True
    distributions = _distributions().get(top, ())
    if top not in sys.stdlib_module_names and not distributions:
        return False
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin in ("built-in", "frozen"):
        return spec is not None
    # A module of the same name in the working directory would be imported in its place.
    if spec.origin is None:  # a namespace package, which may be in several folders
        return bool(distributions)
    origin = Path(spec.origin)
    if top in sys.stdlib_module_names:
        roots = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
        return any(origin.is_relative_to(root) for root in roots)
    installed = [
        Path(str(file.locate()))
        for name in distributions
        for file in _files_of(metadata.distribution(name), top)
    ]
    return not installed or origin in installed
