"""The command line: words and flags. What they do is imported when they are typed."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from orchestrator.flags import Changes, Places, Varied, takes

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

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
ONE_SCENARIO = Varied("scenarios", "Label noise. [default: the study's first]", once=True)


@app.command()
@takes(
    *("study", "trials", "epochs", "seeds", "scenarios", "methods", "subset", "sets"),
    *("data_dir", "home_dir", "engine", "ray_address", "tracking_uri", "yes", "json", "dry_run"),
)
def sweep(
    changes: Changes,
    places: Places,
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

    raise typer.Exit(command.run(changes, places, yes=yes, as_json=json, dry_run=dry_run))


@app.command()
@takes(
    *("study", "method", "seed", "epochs", ONE_SCENARIO, "subset"),
    Varied("sets", "A parameter of the method (lambda=10) or any key of the study."),
    *("data_dir", "home_dir", "tracking_uri", "json"),
)
def train(
    changes: Changes,
    places: Places,
    method: Annotated[str, typer.Option(help="What is trained.")] = "nal",
    seed: Annotated[int, typer.Option(min=0, help="Base seed of the run.")] = 0,
    json: Json = False,
) -> None:
    """Train and record one run, without Ray."""
    from orchestrator.commands import train as command

    raise typer.Exit(command.run(changes, places, method, seed, as_json=json))


@app.command()
def studies(json: Json = False) -> None:
    """List the studies that come with the package."""
    from orchestrator.commands.studies import list_studies

    raise typer.Exit(list_studies(as_json=json))


@app.command()
@takes("study", "epochs", "sets", "yaml")
def show(
    changes: Changes,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print it as a study file.")] = False,
) -> None:
    """Print a study resolved, with the source of each value."""
    from orchestrator.commands.studies import show as command

    raise typer.Exit(command(changes, as_yaml=yaml))


@app.command()
@takes("sweep", "home_dir", "tracking_uri", "markdown", "json")
def report(
    places: Places,
    sweep: Annotated[
        str | None, typer.Argument(help="A study, or a sweep's digest. [default: the latest]")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table as Markdown to this file too.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the table of a sweep, from MLflow alone."""
    from orchestrator.commands import report as command

    raise typer.Exit(command.run(sweep, places, markdown, as_json=json))


@app.command()
@takes("study", ONE_SCENARIO, "seed", "subset", "sets", "data_dir", "home_dir", "json")
def noise(
    changes: Changes,
    places: Places,
    seed: Annotated[int, typer.Option(min=0, help="Base seed of the draw.")] = 0,
    json: Json = False,
) -> None:
    """Draw a study's noisy labels at a seed, show what they are, and save them."""
    from orchestrator.commands import noise as command

    raise typer.Exit(command.run(changes, places, seed, as_json=json))


data = typer.Typer(
    help="List, check and prepare datasets.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data, name="data")
DatasetName = Annotated[str, typer.Argument(help="Name of a dataset: `data list` has them all.")]


@data.command("list")
@takes("home_dir", "data_dir", "json")
def data_list(places: Places, json: Json = False) -> None:
    """Say where each dataset is expected, whether it is there, and where it is offered."""
    from orchestrator.commands import data as command

    raise typer.Exit(command.list_all(places.data, as_json=json))


@data.command("check")
@takes("dataset", "home_dir", "data_dir", "decode", "json")
def data_check(
    dataset: DatasetName,
    places: Places,
    decode: Annotated[
        bool, typer.Option(help="Decode pictures that stay files too, every one.")
    ] = True,
    json: Json = False,
) -> None:
    """Read a dataset, count its classes, and name what cannot be read."""
    from orchestrator.commands import data as command

    raise typer.Exit(command.check(dataset, places.data, decode=decode, as_json=json))


@data.command("prepare")
@takes("dataset", "home_dir", "data_dir")
def data_prepare(dataset: DatasetName, places: Places) -> None:
    """Download what may be downloaded, check it, and decode it for the runs."""
    from orchestrator.commands import data as command

    raise typer.Exit(command.prepare(dataset, places.data, places.home))


@app.command()
@takes("run", "home_dir", "data_dir", "out", "count", "json")
def suspects(
    run: Annotated[str, typer.Argument(help="A run: the beginning of its digest.")],
    places: Places,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. [default: suspects-RUN]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures on the contact sheet.")] = 48,
    json: Json = False,
) -> None:
    """Rank a run's training samples that are likely mislabelled."""
    from orchestrator.commands import suspects as command

    raise typer.Exit(command.run(places, run, out, count, as_json=json))


@app.command()
@takes("home_dir", "tracking_uri")
def sync(places: Places) -> None:
    """Write MLflow again from the runs under the home."""
    from orchestrator.commands import sync as command

    raise typer.Exit(command.run(places))


@app.command()
@takes("home_dir", "host", "port")
def ui(
    places: Places,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's pages over the runs under the home."""
    from orchestrator.commands import ui as command

    raise typer.Exit(command.run(places.home, host, port))
