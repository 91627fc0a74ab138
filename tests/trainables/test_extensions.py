"""Names, contents, imports and classes of extensions, from files and from installed packages."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command_line import CHECKOUT
from factories import make_spec
from outside_code import DATA, LOSS, NET, NOISE, code_file, install_package, name_in, side_effect

from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import CodeError, FieldError
from trainables.extensions import (
    CodeFile,
    code_hashes,
    entry_points_of,
    extension_name,
    load_file,
    loaded_files,
    name_from_entry_point,
    package_sha256,
    without_hash,
)
from trainables.methods import METHODS, method_of
from trainables.noise import noise_of
from trainables.run.parameters import FrozenMap

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_code_loaded")

BARE = """\
from trainables.{module} import {base}


class Bare({base}):
    {body}
"""


def loaded(content: str, class_name: str) -> str:
    """Execute a file with this content; return the name of one of its classes."""
    load_file(code_file(content))
    return name_in(content, class_name)


def message_of(content: str | bytes, path: str = "my.py") -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(CodeError) as fault:
        load_file(CodeFile(path, code_file(content).content))
    assert "\n" not in str(fault.value)
    return str(fault.value)


# Names


def test_a_name_is_the_class_and_twelve_digits_of_the_sha256() -> None:
    sha256 = hashlib.sha256(LOSS.encode()).hexdigest()
    name = loaded(LOSS, "LabelSmoothing")
    assert name == f"LabelSmoothing@{sha256[:12]}"
    assert without_hash(name) == "LabelSmoothing"
    assert method_of(name).name == name
    assert code_hashes([("method", name), ("method", "ce")]) == {name: sha256}


def test_the_path_is_no_part_of_the_name() -> None:
    one, other = code_file(LOSS, "a/my_loss.py"), code_file(LOSS, "b/other.py")
    assert one.sha256 == other.sha256
    load_file(one)
    load_file(other)
    assert loaded_files() == (one,)


def test_a_changed_file_is_another_method_and_another_run() -> None:
    names = [loaded(LOSS, "LabelSmoothing"), loaded(LOSS + "# changed\n", "LabelSmoothing")]
    assert names[0] != names[1]
    assert method_of(names[0]) is not method_of(names[1])
    specs = [make_spec(method=name, values={"smoothing": 0.1}) for name in names]
    digests = {
        replace(spec, code=FrozenMap(code_hashes([("method", spec.method)]))).digest
        for spec in specs
    }
    assert len(digests) == 2


def test_the_whole_sha256_is_part_of_a_runs_digest() -> None:
    spec = make_spec()
    one, other = (replace(spec, code=FrozenMap({"X@0": digits})) for digits in ("00", "01"))
    assert len({spec.digest, one.digest, other.digest}) == 3
    assert "code" in one.to_dict()
    assert type(one).from_dict(one.to_dict()) == one


@pytest.mark.parametrize("digits", ["", "1", "f" * 64])
def test_a_name_needs_exactly_twelve_digits(digits: str) -> None:
    load_file(code_file(LOSS))
    with pytest.raises(FieldError, match="is not available here"):
        method_of(f"LabelSmoothing@{digits}")


def test_the_bytes_that_were_read_are_executed(tmp_path: Path) -> None:
    path, marker = tmp_path / "my.py", tmp_path / "marker"
    path.write_text(LOSS + side_effect(marker, "first"))
    file = CodeFile(str(path), path.read_bytes())
    path.write_text(LOSS + side_effect(marker, "second"))
    load_file(file)
    load_file(file)
    assert marker.read_text() == "first "


def test_a_file_is_compiled_as_it_stands() -> None:
    """The future statements of the module that compiles it do not apply to it."""
    content = "def f(x: int) -> int: ...\nassert f.__annotations__ == {'x': int, 'return': int}\n"
    load_file(code_file(content))


# What a file may import


@pytest.mark.parametrize(
    ("content", "line", "imported"),
    [
        ("import numpy\nimport my_helper\n", 2, "my_helper"),
        ("from my_helper import f\n", 1, "my_helper"),
        ("import numpy, my_helper.more\n", 1, "my_helper.more"),
        ("from . import my_helper\n", 1, "."),
        ("from .my_helper import f\n", 1, ".my_helper"),
        ("def f():\n    import my_helper\n", 2, "my_helper"),
        ("try:\n    import my_helper\nexcept ImportError:\n    pass\n", 2, "my_helper"),
        ("from factories import make_spec\n", 1, "factories"),
    ],
)
def test_only_installed_packages_are_imported(
    content: str, line: int, imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "my_helper.py").write_text(side_effect(marker))
    monkeypatch.syspath_prepend(tmp_path)
    path = str(tmp_path / "my.py")
    assert message_of(content, path) == (
        f"{path}:{line}: '{imported}' is not an installed package, and a file that a study names "
        "may import only installed packages: move the imported code into this file, or install it "
        "as a package"
    )
    assert not marker.exists()


def test_installed_packages_can_be_imported() -> None:
    load_file(
        code_file(
            "from __future__ import annotations\nimport os.path, sys, math, json, numpy.linalg\n"
            "import yaml\nimport PIL.Image\nfrom trainables.methods.base import Method\n"
            "from search_spaces import files\n"
        )
    )


def test_namespace_packages_can_be_imported(site: Path) -> None:
    install_package(site, {"my_space/part/__init__.py": "VALUE = 1\n"}, {})
    load_file(code_file("from my_space.part import VALUE\nassert VALUE == 1\n"))


LOAD = """\
import sys
import trainables
sys.path.insert(0, "")
from trainables.errors import CodeError
from trainables.extensions import CodeFile, load_file
try:
    load_file(CodeFile("my.py", b"import {module}\\n"))
except CodeError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["wave", "mlflow"])
def test_a_module_in_the_working_directory_does_not_shadow_an_installed_one(
    module: str, tmp_path: Path
) -> None:
    def load() -> str:
        done = subprocess.run(
            [sys.executable, "-c", LOAD.format(module=module)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    if module == "wave":
        assert load() == ""
    (tmp_path / f"{module}.py").write_text(side_effect(tmp_path / "marker"))
    assert load().startswith(f"my.py:1: '{module}' is not an installed package, ")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\nclass :\n", "my.py:2 is not valid Python: invalid syntax"),
        (
            "# caf\xe9\n".encode("latin-1"),
            "my.py is not valid Python: 'utf-8' codec can't decode byte 0xe9 in position 5: "
            "invalid continuation byte",
        ),
        ("x = 1\n\nx / 0\n", "my.py:3 cannot be executed: ZeroDivisionError: division by zero"),
        (
            "def f():\n    raise ValueError('one\\ntwo')\n\nf()\n",
            "my.py:2 cannot be executed: ValueError: one two",
        ),
        ("raise SystemExit\n", "my.py:1 cannot be executed: SystemExit"),
        (
            "import json\njson.loads('{')\n",
            "my.py:2 cannot be executed: JSONDecodeError: Expecting property name enclosed in "
            "double quotes: line 1 column 2 (char 1)",
        ),
        (
            "import numpy.no_such\n",
            "my.py:1 cannot be executed: ModuleNotFoundError: No module named 'numpy.no_such'",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(content: str | bytes, message: str) -> None:
    assert message_of(content) == message
    assert loaded_files() == ()


# Classes


def test_a_file_has_the_class() -> None:
    name = loaded(LOSS, "Missing")
    with pytest.raises(CodeError) as fault:
        method_of(name)
    assert str(fault.value) == "my.py: there is no class Missing: write `class Missing(Method)`"


def test_a_class_has_the_base_of_its_kind() -> None:
    name = loaded(LOSS, "LabelSmoothing")
    with pytest.raises(CodeError) as fault:
        backbone_of(name)
    assert str(fault.value) == (
        "my.py: LabelSmoothing is not a subclass of Backbone: write `class "
        "LabelSmoothing(Backbone)`"
    )


def test_a_class_is_complete() -> None:
    content = BARE.format(module="datasets.base", base="Source", body="pass")
    with pytest.raises(CodeError) as fault:
        source_of(loaded(content, "Bare"))
    assert str(fault.value) == (
        "my.py: class Bare does not define read, signature: add these definitions"
    )


def test_a_class_is_not_one_that_the_file_imports(site: Path) -> None:
    content = "from trainables.methods.ce import CrossEntropy\n"
    with pytest.raises(CodeError, match=r"CrossEntropy is defined in trainables\.methods\.ce"):
        method_of(loaded(content, "CrossEntropy"))
    assert METHODS["ce"].name == "ce"
    install_package(site, {"my_package.py": LOSS}, {})
    content = "from my_package import LabelSmoothing\n"
    with pytest.raises(CodeError, match="LabelSmoothing is defined in my_package"):
        method_of(loaded(content, "LabelSmoothing"))


def test_what_a_class_does_not_declare_has_a_default() -> None:
    body = "def loss(self, batch): ..."
    content = BARE.format(module="methods.base", base="Method", body=body)
    name = loaded(content, "Bare")
    digits = name.partition("@")[2]
    assert (method_of(name).title, method_of(name).source) == ("Bare", f"my.py, SHA-256 {digits}")
    backbone = backbone_of(loaded(NET, "LeNet"))
    assert backbone.title == "LeNet"
    assert backbone.source == f"my.py, SHA-256 {name_in(NET, 'LeNet').partition('@')[2]}"
    assert source_of(loaded(DATA, "Blobs")).licence == "not stated"
    assert source_of(name_in(DATA, "Blobs")).title == "blobs"


@pytest.mark.parametrize("order", [("First", "Second"), ("Second", "First")])
def test_a_default_is_not_inherited(order: tuple[str, str]) -> None:
    content = (
        "from trainables.methods.ce import CrossEntropy\n"
        "class First(CrossEntropy): ...\nclass Second(First): ...\n"
    )
    load_file(code_file(content))
    for class_name in order:
        assert method_of(name_in(content, class_name)).title == class_name
    assert METHODS["ce"].title == "Cross Entropy"


# Label noise


def test_a_scenario_begins_with_the_class() -> None:
    load_file(code_file(NOISE))
    noise = noise_of(name_in(NOISE, "PairFlip-0.3"))
    assert (noise.title, noise.nominal_rate) == ("pair flips 30 %", 0.3)
    sha256 = code_file(NOISE).sha256
    name = name_in(NOISE, "PairFlip-0.3")
    assert code_hashes([("noise", name)]) == {name: sha256}


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (
            "PairFlip",
            "PairFlip has no scenario 'PairFlip': did you mean 'PairFlip-RATE'? "
            "known: PairFlip-RATE",
        ),
        (
            "PairFlip-1.5",
            "scenario 'PairFlip-1.5': the rate must be above 0 and below 1, got '1.5'",
        ),
        ("PairFlip-0.30", "scenario 'PairFlip-0.30': write the rate as '0.3'"),
        (
            "PairFlip-0.3+symmetric-0.2",
            "PairFlip has no scenario 'PairFlip-0.3+symmetric-0.2': "
            "did you mean 'PairFlip-RATE'? known: PairFlip-RATE",
        ),
    ],
)
def test_a_scenario_that_the_noise_does_not_have(scenario: str, message: str) -> None:
    load_file(code_file(NOISE))
    with pytest.raises(FieldError) as fault:
        noise_of(name_in(NOISE, scenario))
    assert fault.value.message == message


def test_noise_need_not_declare_its_name_forms() -> None:
    body = (
        "parse = classmethod(lambda cls, scenario: None)\n"
        "    title = 'bare'\n    def apply(self, context, seed): ..."
    )
    content = BARE.format(module="noise.base", base="Noise", body=body)
    with pytest.raises(FieldError) as fault:
        noise_of(loaded(content, "Bare-1"))
    assert fault.value.message == "Bare has no scenario 'Bare-1': did you mean 'Bare'? known: Bare"


# Installed packages

MODULES = {
    "my_package/__init__.py": "",
    "my_package/loss.py": LOSS,
    "my_package/more/net.py": NET,
    "my_package/noise.py": NOISE,
    "my_package/data.py": DATA,
    "my_package/helper.py": "VALUE = 1\n",
}
ENTRY_POINTS = {
    "method smooth": "my_package.loss:LabelSmoothing",
    "backbone lenet": "my_package.more.net:LeNet",
    "noise pair": "my_package.noise:PairFlip",
    "dataset blobs": "my_package.data:Blobs",
}


def forget() -> None:
    """Read what is installed again, as another process would."""
    entry_points_of.cache_clear()
    package_sha256.cache_clear()


def test_a_package_declares_every_kind(site: Path) -> None:
    install_package(site, MODULES, ENTRY_POINTS)
    method = name_from_entry_point("method", "smooth")
    backbone = name_from_entry_point("backbone", "lenet")
    noise = name_from_entry_point("noise", "pair-0.3")
    dataset = name_from_entry_point("dataset", "blobs")
    assert method is not None
    assert backbone is not None
    assert noise is not None
    assert dataset is not None
    assert not any(name.startswith("my_package") for name in sys.modules)
    sha256 = package_sha256(entry_points_of("method")["smooth"])
    assert [method, backbone, noise, dataset] == [
        extension_name(name, sha256)
        for name in ("LabelSmoothing", "LeNet", "PairFlip-0.3", "Blobs")
    ]
    assert code_hashes([("method", method), ("noise", noise)]) == {method: sha256, noise: sha256}
    assert not any(name.startswith("my_package") for name in sys.modules)
    assert method_of(method).title == "Label smoothing"
    assert backbone_of(backbone).source == f"entry point lenet of mine, SHA-256 {sha256[:12]}"
    assert noise_of(noise).title == "pair flips 30 %"
    assert source_of(dataset).name == dataset
    for kind, word in (("method", "smoother"), ("method", "smooth-1"), ("noise", "pairs-0.3")):
        assert name_from_entry_point(kind, word) is None  # type: ignore[arg-type]


def test_the_hash_covers_every_python_file_of_the_package(site: Path) -> None:
    def sha256(modules: dict[str, str]) -> str:
        forget()
        install_package(site, modules, ENTRY_POINTS)
        return package_sha256(entry_points_of("method")["smooth"])

    first = sha256(MODULES)
    assert sha256(MODULES) == first
    changed = [
        {**MODULES, "my_package/helper.py": "VALUE = 2\n"},
        {**MODULES, "my_package/added.py": ""},
        {name: text for name, text in MODULES.items() if "helper" not in name},
        {**MODULES, "my_other_package.py": ""},
    ]
    assert len({first, *map(sha256, changed)}) == 5
    (site / "my_package" / "data.csv").write_text("1\n")
    assert sha256(MODULES) == first


def test_the_hash_of_an_editable_installation_covers_its_package(site: Path) -> None:
    install_package(site, MODULES, ENTRY_POINTS, listed=False)
    first = package_sha256(entry_points_of("method")["smooth"])
    (site / "my_package" / "more" / "added.py").write_text("")
    forget()
    second = package_sha256(entry_points_of("method")["smooth"])
    assert second != first
    assert method_of(f"LabelSmoothing@{second[:12]}").title == "Label smoothing"
    with pytest.raises(FieldError, match="is not available here"):
        method_of(f"LabelSmoothing@{first[:12]}")


def test_an_editable_installation_of_one_module(site: Path) -> None:
    install_package(
        site, {"my_package.py": LOSS}, {"method smooth": "my_package:LabelSmoothing"}, listed=False
    )
    content = f"my_package.py\0{code_file(LOSS).sha256}\n".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    assert package_sha256(entry_points_of("method")["smooth"]) == sha256


@pytest.mark.parametrize(
    ("modules", "entry_point", "message"),
    [
        (
            {"my_package.py": "import no_such_module\n"},
            "my_package:X",
            "entry point smooth of mine cannot be imported: ModuleNotFoundError: No module named "
            "'no_such_module'",
        ),
        (
            {"my_package.py": "class X: ...\n"},
            "my_package:X",
            "entry point smooth of mine: X is not a subclass of Method: write `class X(Method)`",
        ),
        (
            {"my_package.py": "from trainables.methods.ce import CrossEntropy\n"},
            "my_package:CrossEntropy",
            "entry point smooth of mine: CrossEntropy is a class of this project, defined in "
            "trainables.methods.ce: write its own name instead of an extension",
        ),
    ],
)
def test_what_is_wrong_with_a_declared_class_is_one_line(
    modules: dict[str, str], entry_point: str, message: str, site: Path
) -> None:
    install_package(site, modules, {"method smooth": entry_point})
    name = name_from_entry_point("method", "smooth")
    assert name is not None
    with pytest.raises(CodeError) as fault:
        method_of(name)
    assert str(fault.value) == message


def test_an_entry_point_names_a_class(site: Path) -> None:
    install_package(site, {"my_package.py": LOSS}, {"method smooth": "my_package"})
    with pytest.raises(CodeError, match="of mine: its value must have the form MODULE:CLASS"):
        entry_points_of("method")


def test_two_packages_with_one_name(site: Path) -> None:
    for name in ("mine", "yours"):
        install_package(
            site, {f"my_{name}.py": LOSS}, {"method smooth": f"my_{name}:LabelSmoothing"}, name=name
        )
    with pytest.raises(CodeError, match="both declare the entry point smooth in the group"):
        entry_points_of("method")


@pytest.mark.parametrize("backport", [False, True])
def test_a_file_of_a_package_that_is_missing(site: Path, *, backport: bool) -> None:
    if backport:  # replaces the finder of `importlib.metadata`, as MLflow does
        importlib.import_module("importlib_metadata")
    install_package(site, MODULES, ENTRY_POINTS)
    (site / "my_package" / "helper.py").unlink()
    with pytest.raises(CodeError) as fault:
        name_from_entry_point("method", "smooth")
    assert str(fault.value) == (
        f"cannot read {site / 'my_package' / 'helper.py'} of mine (No such file or directory): "
        "install the package again"
    )


def test_a_shipped_method_is_suggested_together_with_declared_ones(site: Path) -> None:
    install_package(site, MODULES, ENTRY_POINTS)
    with pytest.raises(FieldError, match="did you mean 'smooth'"):
        method_of("smoth")


def test_a_package_cannot_declare_two_classes_of_one_name(site: Path) -> None:
    modules = {"one.py": LOSS, "two.py": LOSS}
    entries = {"method first": "one:LabelSmoothing", "method second": "two:LabelSmoothing"}
    install_package(site, modules, entries)
    message = "^mine declares two classes with the name LabelSmoothing: rename one of them$"
    with pytest.raises(CodeError, match=message):
        entry_points_of("method")


def test_the_longest_declared_name_is_meant(site: Path) -> None:
    flip = NOISE.replace("PairFlip", "Flip")
    entries = {"noise pair": "one:PairFlip", "noise pair-flip": "two:Flip"}
    install_package(site, {"one.py": NOISE, "two.py": flip}, entries)
    names = [name_from_entry_point("noise", f"{word}-0.3") for word in ("pair", "pair-flip")]
    assert [without_hash(name or "") for name in names] == ["PairFlip-0.3", "Flip-0.3"]


@pytest.mark.usefixtures("no_code_loaded")
def test_what_a_file_prints_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    load_file(code_file("print('loaded')\n"))
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "loaded\n")


@pytest.mark.usefixtures("no_code_loaded")
def test_another_name_of_a_class_is_refused() -> None:
    file = code_file(LOSS + "\n\nSmooth = LabelSmoothing\n")
    load_file(file)
    with pytest.raises(
        CodeError, match=r"another name of class LabelSmoothing: use the name LabelSmoothing$"
    ):
        method_of(extension_name("Smooth", file.sha256))
