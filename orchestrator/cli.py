"""The command line: words and flags. What they do is imported when they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.home import DEFAULT_HOME

if TYPE_CHECKING:
    from orchestrator.flags import StudyFlags
    from orchestrator.home import Home

app = typer.Typer(
    name="nal-orchestrator",
    help="Which hyperparameters make Noise Attention Learning work on your data, and does the "
    "result hold? Searches λ and α, confirms them on fresh seeds beside the comparison methods, "
    "records every run in MLflow and writes the table of mean ± std.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Study = Annotated[str, typer.Argument(help="Name of a study, or path of a YAML file.")]
Trials = Annotated[int | None, typer.Option(help="Trials of each search: a target.")]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of a training; schedules are scaled with it.")
]
SeedCount = Annotated[int | None, typer.Option("--seeds", help="Number of seeds of each cell.")]
Scenario = Annotated[
    list[str] | None, typer.Option(help="Label noise, such as symmetric-0.4; may be repeated.")
]
Methods = Annotated[str | None, typer.Option(help="Methods to compare, such as nal,ce.")]
Subset = Annotated[int | None, typer.Option(help="Train on so many images only.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study; may be repeated."),
]
DataDir = Annotated[Path | None, typer.Option(help="Where the dataset is. [default: HOME/data]")]
HomeDir = Annotated[Path, typer.Option("--home", help="Where everything is written.")]
RayAddress = Annotated[
    str | None, typer.Option(help="HOST:PORT of a running Ray cluster. [default: start Ray here]")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow store. [default: sqlite under HOME]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def _flags(
    study: str,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    scenario: list[str] | None = None,
    methods: str | None = None,
    subset: int | None = None,
    sets: list[str] | None = None,
    data_dir: Path | None = None,
    home: Path = DEFAULT_HOME,
    ray_address: str | None = None,
    tracking_uri: str | None = None,
) -> StudyFlags:
    from orchestrator.flags import StudyFlags

    return StudyFlags(
        study=study,
        trials=trials,
        epochs=epochs,
        seeds=seeds,
        scenarios=tuple(scenario or ()),
        methods=None
        if methods is None
        else tuple(filter(None, methods.replace(" ", "").split(","))),
        subset=subset,
        sets=tuple(sets or ()),
        data_dir=data_dir,
        home=home,
        ray_address=ray_address,
        tracking_uri=tracking_uri,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command()
def sweep(
    study: Study,
    trials: Trials = None,
    epochs: Epochs = None,
    seeds: SeedCount = None,
    scenario: Scenario = None,
    methods: Methods = None,
    subset: Subset = None,
    sets: Set = None,
    data_dir: DataDir = None,
    home: HomeDir = DEFAULT_HOME,
    ray_address: RayAddress = None,
    tracking_uri: TrackingUri = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a long plan.")] = False,
    json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; write nothing.")
    ] = False,
) -> None:
    """Search λ and α, confirm the best on fresh seeds, write the table.

    Killed at any moment and typed again, the same command goes on where it was.
    """
    from orchestrator.commands import sweep as command

    flags = _flags(
        study,
        trials=trials,
        epochs=epochs,
        seeds=seeds,
        scenario=scenario,
        methods=methods,
        subset=subset,
        sets=sets,
        data_dir=data_dir,
        home=home,
        ray_address=ray_address,
        tracking_uri=tracking_uri,
    )
    raise typer.Exit(command.run(flags, yes=yes, as_json=json, dry_run=dry_run))


@app.command()
def train(
    study: Study,
    method: Annotated[str, typer.Option(help="What is trained.")] = "nal",
    seed: Annotated[int, typer.Option(min=0, help="Base seed of the run.")] = 0,
    epochs: Epochs = None,
    scenario: Annotated[
        str | None, typer.Option(help="Label noise. [default: the study's first]")
    ] = None,
    subset: Subset = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter of the method (lambda=10) or any key of the study.",
        ),
    ] = None,
    data_dir: DataDir = None,
    home: HomeDir = DEFAULT_HOME,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Train and record one run, without Ray."""
    from orchestrator.commands import train as command

    flags = _flags(
        study,
        epochs=epochs,
        scenario=None if scenario is None else [scenario],
        subset=subset,
        sets=sets,
        data_dir=data_dir,
        home=home,
        tracking_uri=tracking_uri,
    )
    raise typer.Exit(command.run(flags, method, seed, as_json=json))


@app.command()
def studies(json: Json = False) -> None:
    """List the studies that come with the package."""
    from orchestrator.commands.studies import list_studies

    raise typer.Exit(list_studies(as_json=json))


@app.command()
def show(
    study: Study,
    epochs: Epochs = None,
    sets: Set = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print it as a study file.")] = False,
) -> None:
    """Print a study resolved, with the source of each value."""
    from orchestrator.commands.studies import show as command

    raise typer.Exit(command(_flags(study, epochs=epochs, sets=sets), as_yaml=yaml))


@app.command()
def report(
    sweep: Annotated[
        str | None, typer.Argument(help="A study, or a sweep's digest. [default: the latest]")
    ] = None,
    home: HomeDir = DEFAULT_HOME,
    tracking_uri: TrackingUri = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table as Markdown to this file too.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the table of a sweep, from MLflow alone."""
    from orchestrator.commands import report as command
    from orchestrator.home import Home

    place = Home(home.expanduser().resolve())
    raise typer.Exit(command.run(sweep, place, tracking_uri, markdown, as_json=json))


@app.command()
def noise(
    study: Study,
    scenario: Annotated[
        str | None, typer.Option(help="Label noise. [default: the study's first]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Base seed of the draw.")] = 0,
    subset: Subset = None,
    sets: Set = None,
    data_dir: DataDir = None,
    home: HomeDir = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Draw a study's noisy labels at a seed, show what they are, and save them."""
    from orchestrator.commands import noise as command

    flags = _flags(
        study,
        scenario=None if scenario is None else [scenario],
        subset=subset,
        sets=sets,
        data_dir=data_dir,
        home=home,
    )
    raise typer.Exit(command.run(flags, seed, as_json=json))


data = typer.Typer(
    help="List, check and prepare datasets.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data, name="data")
DatasetName = Annotated[str, typer.Argument(help="Name of a dataset: `data list` has them all.")]


def _data_dir(home: Path, data_dir: Path | None) -> tuple[Home, Path]:
    from orchestrator.home import Home

    place = Home(home.expanduser().resolve())
    return place, place.data if data_dir is None else data_dir.expanduser().resolve()


@data.command("list")
def data_list(home: HomeDir = DEFAULT_HOME, data_dir: DataDir = None, json: Json = False) -> None:
    """Say where each dataset is expected, whether it is there, and where it is offered."""
    from orchestrator.commands import data as command

    _, folder = _data_dir(home, data_dir)
    raise typer.Exit(command.list_all(folder, as_json=json))


@data.command("check")
def data_check(
    dataset: DatasetName,
    home: HomeDir = DEFAULT_HOME,
    data_dir: DataDir = None,
    decode: Annotated[
        bool, typer.Option(help="Decode pictures that stay files too, every one.")
    ] = True,
    json: Json = False,
) -> None:
    """Read a dataset, count its classes, and name what cannot be read."""
    from orchestrator.commands import data as command

    _, folder = _data_dir(home, data_dir)
    raise typer.Exit(command.check(dataset, folder, decode=decode, as_json=json))


@data.command("prepare")
def data_prepare(
    dataset: DatasetName, home: HomeDir = DEFAULT_HOME, data_dir: DataDir = None
) -> None:
    """Download what may be downloaded, check it, and decode it for the runs."""
    from orchestrator.commands import data as command

    place, folder = _data_dir(home, data_dir)
    raise typer.Exit(command.prepare(dataset, folder, place))


@app.command()
def suspects(
    run: Annotated[str, typer.Argument(help="A run: the beginning of its digest.")],
    home: HomeDir = DEFAULT_HOME,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. [default: suspects-RUN]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures on the contact sheet.")] = 48,
    json: Json = False,
) -> None:
    """Rank a run's training samples that are likely mislabelled."""
    from orchestrator.commands import suspects as command
    from orchestrator.home import Home

    place = Home(home.expanduser().resolve())
    raise typer.Exit(command.run(place, run, out, count, data_dir, as_json=json))


@app.command()
def sync(home: HomeDir = DEFAULT_HOME, tracking_uri: TrackingUri = None) -> None:
    """Write MLflow again from the runs under the home."""
    from orchestrator.commands import sync as command
    from orchestrator.home import Home

    raise typer.Exit(command.run(Home(home.expanduser().resolve()), tracking_uri))


@app.command()
def ui(
    home: HomeDir = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's pages over the runs under the home."""
    from orchestrator.commands import ui as command
    from orchestrator.home import Home

    raise typer.Exit(command.run(Home(home.expanduser().resolve()), host, port))
