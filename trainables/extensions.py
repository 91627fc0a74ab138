"""Extensions: methods, backbones, label noise and datasets that are defined outside this project.

An extension is a class in a Python file of the user's, or in an installed package that declares the
class as an entry point. The name of an extension consists of the class name and the first digits of
the SHA-256 of its source code, as in `LabelSmoothing@1f3c9a2b7d4e`. Changed source code is
therefore another extension, whereas the location of the code does not matter. `RunSpec.code`
contains the complete SHA-256.

Only `load_file` executes a file; its caller decides whether the file may be executed.
"""

from __future__ import annotations

import ast
import csv
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
"""Kind of an extension."""
Base = TypeVar("Base")
"""Base class of all extensions of one kind, such as `Method`."""

ENTRY_POINT_GROUPS: dict[Kind, str] = {
    "method": "nal_orchestrator.methods",
    "backbone": "nal_orchestrator.backbones",
    "noise": "nal_orchestrator.noise",
    "dataset": "nal_orchestrator.datasets",
}
"""Entry-point group in which installed packages declare extensions, by kind of extension."""

HASH_SEPARATOR = "@"
"""Character between the class name and the hash in the name of an extension."""
HASH_DIGITS = 12
"""Number of leading hexadecimal digits of the SHA-256 in the name of an extension."""

OWN_PACKAGES = ("orchestrator", "reports", "search_spaces", "trainables")
"""Top-level packages of this project."""

_CLASS_NAME = re.compile(r"[A-Za-z_]\w*")


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

    def not_allowed_error(self) -> CodeError:
        """Return the error to raise if the user has not allowed the execution of the file."""
        return CodeError(
            f"the code in {self.path} (SHA-256 {self.sha256}) would be executed, but has not been "
            "allowed: read the file, then add --allow-code"
        )


_executed_files: dict[str, CodeFile] = {}
"""Files that this process has executed, by SHA-256."""
_modules: dict[str, ModuleType] = {}
"""Modules that resulted from executing `_executed_files`, by SHA-256 of the file."""
_default_attributes: set[tuple[type, str]] = set()
"""Class and name of every class attribute that an extension omits and that was set to a default."""


def is_extension(name: str) -> bool:
    """Return whether a name in a study or spec is the name of an extension, with a hash."""
    return HASH_SEPARATOR in name


def extension_name(class_name: str, sha256: str) -> str:
    """Return the name of an extension, such as `LabelSmoothing@1f3c9a2b7d4e`.

    Args:
        class_name: name of the class; for label noise the name of the scenario, which begins with
            the name of the class.
        sha256: SHA-256 of the source code.
    """
    return f"{class_name}{HASH_SEPARATOR}{sha256[:HASH_DIGITS]}"


def without_hash(name: str) -> str:
    """Return the name of an extension without the digits of its SHA-256."""
    return name.partition(HASH_SEPARATOR)[0]


def loaded_files() -> tuple[CodeFile, ...]:
    """Return the files that this process has executed."""
    return tuple(_executed_files.values())


def load_file(file: CodeFile) -> None:
    """Execute a file with extensions, unless this process has executed the same content before.

    Raises:
        CodeError: if the file imports a module that is not in an installed package, or cannot be
            executed.
    """
    if file.sha256 in _modules:
        return
    _check_imports(file)
    module = ModuleType(f"nal_extension_{file.sha256[:HASH_DIGITS]}")
    # Dataclasses and type hints look up their module by name.
    sys.modules[module.__name__] = module
    try:
        code = compile(file.content, file.path, "exec", dont_inherit=True)
        with redirect_stdout(sys.stderr):  # JSON may follow on standard output
            exec(code, module.__dict__)  # noqa: S102 - the caller decides
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        location = _innermost_location(error, {file.path}) or file.path
        raise CodeError(f"{location} cannot be executed: {_one_line(error)}") from error
    _executed_files[file.sha256] = file
    _modules[file.sha256] = module


def location_in_extension(error: BaseException) -> str:
    """Return FILE:LINE of the user's code in which an exception was raised; "" if in none."""
    return _innermost_location(error, {file.path for file in _executed_files.values()})


def _innermost_location(error: BaseException, paths: Collection[str]) -> str:
    """Return FILE:LINE of the innermost traceback frame in one of some files; "" if none is."""
    frames = traceback.extract_tb(error.__traceback__)
    locations = [f"{frame.filename}:{frame.lineno}" for frame in frames if frame.filename in paths]
    return locations[-1] if locations else ""


def extension_class(kind: Kind, name: str, base: type[Base]) -> type[Base]:
    """Return the class of an extension, with its name and omitted class attributes set.

    Args:
        kind: kind of the extension.
        name: name of the extension, such as `LabelSmoothing@1f3c9a2b7d4e`.
        base: base class of all extensions of this kind.

    Raises:
        FieldError: if neither a loaded file nor an installed package provides the extension.
        CodeError: if the class is not a complete subclass of `base`.
    """
    sha256, entry_point = _find_source(kind, name)
    if entry_point is not None:
        location = f"entry point {entry_point.name} of {distribution_name(entry_point)}"
        return _prepare_class(_import_object(entry_point), base, name, location)
    class_name, module, location = (
        without_hash(name),
        _modules[sha256],
        _executed_files[sha256].path,
    )
    member = getattr(module, class_name, None)
    if isinstance(member, type) and member.__module__ != module.__name__:
        raise CodeError(
            f"{location}: {class_name} is defined in {member.__module__} and only imported here: "
            "define a subclass in this file"
        )
    return _prepare_class(member, base, name, location)


def class_name_of(scenario: str) -> str:
    """Return the class name at the start of a scenario name, such as `Flip` of `Flip-0.3`.

    The result is "" if the scenario name does not begin with a class name.
    """
    match = _CLASS_NAME.match(scenario)
    return match.group() if match else ""


def sha256_of(kind: Kind, name: str) -> str:
    """Return the SHA-256 of the source code of an extension.

    Raises:
        FieldError: if neither a loaded file nor an installed package provides the extension.
    """
    return _find_source(kind, name)[0]


def _find_source(kind: Kind, name: str) -> tuple[str, metadata.EntryPoint | None]:
    """Return the SHA-256 of an extension's source code, and the entry point of the extension.

    The entry point is None if a file defines the extension.

    Raises:
        FieldError: if neither a loaded file nor an installed package provides the extension.
    """
    class_name, _, digits = name.partition(HASH_SEPARATOR)
    for sha256 in _modules:
        if sha256[:HASH_DIGITS] == digits:
            return sha256, None
    for entry_point in entry_points_of(kind).values():
        sha256 = package_sha256(entry_point)
        # The name of label noise is a scenario name, in which the class name may have a suffix.
        if entry_point.attr == class_name_of(class_name) and sha256[:HASH_DIGITS] == digits:
            return sha256, entry_point
    raise FieldError(
        kind,
        f"the source code of {kind} {name} is not available here: neither a file of the study nor "
        "an installed package has this SHA-256; restore the file or the version of the package",
    )


def code_hashes(kinds_and_names: Iterable[tuple[Kind, str]]) -> dict[str, str]:
    """Return the SHA-256 of each extension's source code, by name of the extension.

    Args:
        kinds_and_names: kind and name of each extension; classes of this project are ignored.
    """
    return {name: sha256_of(kind, name) for kind, name in kinds_and_names if is_extension(name)}


def is_loaded(file: CodeFile) -> bool:
    """Return whether this process has executed a file with the same content."""
    return file.sha256 in _modules


@cache
def entry_points_of(kind: Kind) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of all extensions that installed packages declare, by name.

    Raises:
        CodeError: if two packages declare the same name, or if an entry point does not name a
            class at the top level of a module.
    """
    entry_points: dict[str, metadata.EntryPoint] = {}
    modules: dict[tuple[str, str], str] = {}
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUPS[kind]):
        first = entry_points.setdefault(entry_point.name, entry_point)
        description = f"entry point {entry_point.name} in the group {ENTRY_POINT_GROUPS[kind]}"
        if first is not entry_point:
            packages = f"{distribution_name(first)} and {distribution_name(entry_point)}"
            raise CodeError(
                f"{packages} both declare the {description}: uninstall one of the two packages"
            )
        if not (entry_point.attr or "").isidentifier():
            raise CodeError(
                f"{description} of {distribution_name(entry_point)}: its value must have the form "
                "MODULE:CLASS"
            )
        # The name of an extension contains no module, so the class name must be unique.
        package, class_name = distribution_name(entry_point), entry_point.attr
        if modules.setdefault((package, class_name), entry_point.module) != entry_point.module:
            raise CodeError(
                f"{package} declares two classes with the name {class_name}: rename one of them"
            )
    return entry_points


def name_from_entry_point(kind: Kind, reference: str) -> str | None:
    """Return the name of the extension that an entry point of an installed package declares.

    Args:
        kind: kind of the extension.
        reference: name of the entry point in a study; for label noise a scenario that begins with
            the name of the entry point.

    Returns:
        Name of the extension, which contains digits of the SHA-256 of the package; None if no
        installed package declares an entry point of this name.
    """
    entry_points = entry_points_of(kind)
    # The longest name first: of `pair` and `pair-flip`, `pair-flip-0.3` begins with both.
    for name in sorted(entry_points, key=len, reverse=True):
        suffix = reference.removeprefix(name)
        if suffix != reference and (not suffix or (kind == "noise" and suffix.startswith("-"))):
            entry_point = entry_points[name]
            return extension_name(f"{entry_point.attr}{suffix}", package_sha256(entry_point))
    return None


@cache
def package_sha256(entry_point: metadata.EntryPoint) -> str:
    """Return the SHA-256 of all Python files of the installed package that declares an entry point.

    The hash covers the names and contents of the files, in the order of their names. For an
    editable installation, these are the files of the import package that contains the class.

    Raises:
        CodeError: if one of the files cannot be read.
    """
    package_hash = hashlib.sha256()
    for name, path in sorted(_python_files(entry_point)):
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise CodeError(
                f"cannot read {path} of {distribution_name(entry_point)} ({error.strerror}): "
                "install the package again"
            ) from error
        package_hash.update(f"{name}\0{sha256}\n".encode())
    return package_hash.hexdigest()


def _python_files(entry_point: metadata.EntryPoint) -> Iterator[tuple[str, Path]]:
    """Yield the relative name and the path of each Python file that `package_sha256` covers."""
    top_module = entry_point.module.partition(".")[0]
    files = _listed_python_files(entry_point.dist, top_module) if entry_point.dist else {}
    if files:
        yield from files.items()
        return
    # The files of an editable installation are in the developer's folder and are not listed.
    spec = importlib.util.find_spec(top_module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).rglob("*.py"):
            yield path.relative_to(Path(folder).parent).as_posix(), path
    if spec and not spec.submodule_search_locations and spec.origin:
        yield Path(spec.origin).name, Path(spec.origin)


def _listed_python_files(distribution: metadata.Distribution, top_module: str) -> dict[str, Path]:
    """Return the paths of a distribution's Python files by name; {} if it lists no `top_module`.

    `Distribution.files` is not used: if a library has imported `importlib_metadata`, it leaves out
    files that are missing.
    """
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    names = [row[0] for row in rows if row and row[0].endswith(".py")]
    if not any(name.partition("/")[0] in (top_module, f"{top_module}.py") for name in names):
        return {}
    return {name: Path(str(distribution.locate_file(name))) for name in names}


def distribution_name(entry_point: metadata.EntryPoint) -> str:
    """Return the name of the installed package that declares an entry point, for messages."""
    return entry_point.dist.name if entry_point.dist else "an installed package"


def _import_object(entry_point: metadata.EntryPoint) -> object:
    """Import and return the object that an entry point refers to.

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


def _prepare_class(member: object, base: type[Base], name: str, location: str) -> type[Base]:
    """Check the class of an extension, and set its name and its omitted class attributes.

    Args:
        member: object that must be the class; None if the module contains no such object.
        base: base class of all extensions of this kind.
        name: name of the extension.
        location: file or entry point of the class, for messages.

    Raises:
        CodeError: if the class is not a complete subclass of `base`.
    """
    class_name, _, digits = name.partition(HASH_SEPARATOR)
    if not isinstance(member, type) or not issubclass(member, base):
        problem = (
            f"there is no class {class_name}"
            if member is None
            else f"{class_name} is not a subclass of {base.__name__}"
        )
        raise CodeError(f"{location}: {problem}: write `class {class_name}({base.__name__})`")
    if member.__module__.partition(".")[0] in OWN_PACKAGES:
        raise CodeError(
            f"{location}: {class_name} is a class of this project, defined in "
            f"{member.__module__}: write its own name instead of an extension"
        )
    if member.__name__ != class_name:
        raise CodeError(
            f"{location}: {class_name} is another name of class {member.__name__}: use the name "
            f"{member.__name__}"
        )
    extension: Any = member
    if inspect.isabstract(extension):
        missing = ", ".join(sorted(extension.__abstractmethods__))
        raise CodeError(
            f"{location}: class {class_name} does not define {missing}: add these definitions"
        )
    if "name" in base.__annotations__:
        extension.name = name
    defaults = {
        "title": class_name,
        "source": f"{Path(location).name}, SHA-256 {digits}",
        "licence": "not stated",
        "name_forms": (class_name,),
    }
    # A title inherited from a class of this project is not a title of the extension.
    outside_classes = [
        class_
        for class_ in member.__mro__
        if class_.__module__.partition(".")[0] not in OWN_PACKAGES
    ]
    for attribute, default in defaults.items():
        is_declared = any(
            attribute in vars(class_) and (class_, attribute) not in _default_attributes
            for class_ in outside_classes
        )
        if attribute in base.__annotations__ and not is_declared:
            setattr(extension, attribute, default)
            _default_attributes.add((member, attribute))
    return member


def _check_imports(file: CodeFile) -> None:
    """Check that a file with extensions imports only installed packages.

    A module beside the file would be executed without being hashed or sent to workers.

    Raises:
        CodeError: if the file imports a module that is not in an installed package, or is not valid
            Python.
    """
    try:
        file.content.decode()
        tree = ast.parse(file.content, file.path)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise CodeError(f"{file.path}{line} is not valid Python: {text}") from error
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        for name in names:
            if not _is_installed(name.partition(".")[0]):
                raise CodeError(
                    f"{file.path}:{node.lineno}: '{name}' is not an installed package, and a file "
                    "that a study names may import only installed packages: move the imported "
                    "code into this file, or install it as a package"
                )


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Return the names of the installed distributions that provide each top-level module."""
    return metadata.packages_distributions()


@cache
def _is_installed(top_module: str) -> bool:
    """Return whether a top-level module is in Python, this project or an installed package."""
    if top_module in OWN_PACKAGES:
        return True
    distributions = _distributions().get(top_module, ())
    if top_module not in sys.stdlib_module_names and not distributions:
        return False
    spec = importlib.util.find_spec(top_module)
    if spec is None or spec.origin in ("built-in", "frozen"):
        return spec is not None
    # A module of the same name in the working directory would be imported instead.
    if spec.origin is None:  # a namespace package, which may be in several folders
        return bool(distributions)
    origin = Path(spec.origin)
    if top_module in sys.stdlib_module_names:
        roots = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
        return any(origin.is_relative_to(root) for root in roots)
    installed_files = [
        path
        for name in distributions
        for path in _listed_python_files(metadata.distribution(name), top_module).values()
    ]
    return not installed_files or origin in installed_files
