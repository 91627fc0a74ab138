"""Commands of the command line and their flags; a command is implemented in a module of its own.

That module is imported when the command is called. The docstrings of the commands are the help
texts that `--help` prints.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from orchestrator.flags import AllowCodeFlag, FlagOverride, Locations, StudyFlags, with_flags
from orchestrator.output_files import check_output_files
from reports.spread import Spread
from trainables.errors import InterruptionError
from trainables.run.identity import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable


class CommandGroup(typer.core.TyperGroup):
    """A group of commands, whose help is printed if no command is named.

    An interrupted command raises `InterruptionError`, not `KeyboardInterrupt`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as below
        """Parse the words after the name of the group."""
        return super().parse_args(ctx, args or ["--help"])

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - types that depend on typer's version
        """Run the command of a command line.

        Raises:
            InterruptionError: if the command is interrupted.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptionError("interrupted") from None


def resumable(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that says, when it is interrupted, that it can be continued.

    Raises:
        InterruptionError: if the command is interrupted; the text of the `KeyboardInterrupt` says
            how far it came.
    """

    @wraps(command)
    def wrapper(**values: Any) -> None:  # noqa: ANN401 - any parameters
        try:
            command(**values)
        except KeyboardInterrupt as interrupt:
            subject = str(interrupt) or "interrupted"
            raise InterruptionError(f"{subject}: type the same command again to continue") from None

    return wrapper


app = typer.Typer(
    cls=CommandGroup,
    name="nal-orchestrator",
    help="Which hyperparameters make Noise Attention Learning work on your data, and does the "
    "result hold? Searches λ and α, confirms them on fresh seeds beside the comparison methods, "
    "records every run in MLflow and writes the table of mean ± std.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
RunArgument = Annotated[str, typer.Argument(help="The beginning of a run's digest.")]
SINGLE_SCENARIO = FlagOverride(
    "scenarios", "Label noise. [default: the study's first scenario]", takes_single_value=True
)
"""Flag `--scenario` of commands that use one scenario of a study."""


@app.command()
@with_flags(
    *("study", "trials", "epochs", "seeds", "scenarios", "methods", "subset", "budget_hours"),
    *("fit", "from_sweep", "sets", "data_dir", "home_dir", "engine", "ray_address"),
    *("max_concurrent", "sbatch", "tracking_uri", "search_storage", "allow_code", "yes"),
    *("json", "dry_run"),
)
@resumable
def sweep(
    study_flags: StudyFlags,
    locations: Locations,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Shrink the sweep until it takes at most this time here, such as 45min, 1h or "
            "2d: trials, seeds, epochs and subset, in the order of the study's budget.shrink.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Start a long sweep without confirmation.")
    ] = False,
    json: JsonFlag = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write nothing.")
    ] = False,
) -> None:
    """Search λ and α, confirm the best on new seeds, write the table.

    The same command continues an interrupted sweep.
    """
    from orchestrator.commands import sweep as sweep_command

    raise typer.Exit(
        sweep_command.run(study_flags, locations, yes=yes, as_json=json, dry_run=dry_run, fit=fit)
    )


launch_app = typer.Typer(
    cls=CommandGroup, help="Carry out a sweep as a job of a cluster.", rich_markup_mode=None
)
app.add_typer(launch_app, name="launch")


@launch_app.command("slurm")
@with_flags(
    *("study", "nodes", "gpus", "cpus", "mem", "time", "partition", "account", "grace"),
    FlagOverride("sbatch", "Any other option of sbatch, such as constraint=a100; may be repeated."),
    *("submit", "out", "trials", "epochs", "seeds", "scenarios", "methods", "subset"),
    *(
        "budget_hours",
        "from_sweep",
        "sets",
        "data_dir",
        "home_dir",
        "max_concurrent",
        "tracking_uri",
        "search_storage",
        "allow_code",
    ),
    "json",
)
def launch_slurm(
    study_flags: StudyFlags,
    locations: Locations,
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each node.")] = 0,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="CPUs of each node. [default: as many as its runs need]"),
    ] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of each node, such as 32G.")] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Time limit, such as 1-12:00:00. The job is requeued until it is done."),
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Partition of the cluster.")] = None,
    account: Annotated[str | None, typer.Option(help="Account that pays.")] = None,
    grace: Annotated[
        int,
        typer.Option(
            min=1, max=65535, help="Seconds before the time limit at which the job is requeued."
        ),
    ] = 120,
    submit: Annotated[bool, typer.Option("--submit", help="Also submit the script.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of the script. [default: HOME/slurm/STUDY.sbatch]"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write the job script of a sweep for Slurm.

    One job starts Ray on its nodes and carries out the sweep there.
    """
    from orchestrator.commands import launch

    allocation = launch.Allocation(nodes, gpus, cpus, mem, time, partition, account, grace)
    raise typer.Exit(
        launch.launch_on_slurm(
            study_flags, locations, allocation, out=out, submit=submit, as_json=json
        )
    )


@app.command()
@with_flags(
    *("study", "method", "seed", "epochs", SINGLE_SCENARIO, "subset"),
    FlagOverride("sets", "A parameter of the method (lambda=10) or any key of the study."),
    *("data_dir", "home_dir", "tracking_uri", "allow_code", "json"),
)
@resumable
def train(
    study_flags: StudyFlags,
    locations: Locations,
    method: Annotated[str, typer.Option(help="Method to train.")] = "nal",
    seed: Annotated[int, typer.Option(min=0, max=MAX_INTEGER, help="Base seed of the run.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Train and record one run, without Ray."""
    from orchestrator.commands import train as train_command

    raise typer.Exit(train_command.run(study_flags, locations, method, seed, as_json=json))


@app.command()
def studies(json: JsonFlag = False) -> None:
    """List the studies that come with the package."""
    from orchestrator.commands.studies import list_studies

    raise typer.Exit(list_studies(as_json=json))


@app.command()
@with_flags("study", "epochs", "sets", "allow_code", "yaml")
def show(
    study_flags: StudyFlags,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the resolved study as a study file.")
    ] = False,
) -> None:
    """Print every value of a resolved study with its source."""
    from orchestrator.commands.studies import show as show_command

    raise typer.Exit(show_command(study_flags, as_yaml=yaml))


@app.command()
@with_flags(
    *("sweeps", "home_dir", "tracking_uri", "table", "layout", "out", "html", "paper", "spread"),
    *("columns", "pairs", "ranks", "figure", "figures", "scenario", "json"),
)
def report(
    locations: Locations,
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWEEP]...",
            help="Name of a study, path of its YAML file, or beginning of a sweep's digest. "
            "[default: the latest sweep]",
        ),
    ] = None,
    table: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Print a table of the NAL paper, 1 to 6, with the measured accuracies of the "
            "shipped studies.",
        ),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file that lays out a table of several sweeps, also of several homes.",
        ),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="File to which the table is also written: .md, .tex, .csv, .html, .json or .txt; "
            "repeatable."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to which a page is written: tables, verdicts, plan, and every run.",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Also judge whether published accuracies are reproduced."),
    ] = False,
    spread: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(Spread)}]",
            help="What ± is: sample standard deviation, standard error, half of the 95 % interval "
            "of the mean, or standard deviation with ddof 0.",
        ),
    ] = Spread.SD.value,
    columns: Annotated[
        str,
        typer.Option(
            help="Columns to add, separated by commas: seconds (per epoch), hours (per run), "
            "memory (peak), values (tuned).",
            show_default=False,
        ),
    ] = "",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Also print the differences of all pairs of rows.")
    ] = False,
    ranks: Annotated[
        bool, typer.Option("--ranks", help="Also print average ranks over the scenarios.")
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Figure to write as SVG, PDF, PNG and CSV: 1, 2, 3 or 4 of the NAL paper, "
            "sensitivity, curves, response or ranks; repeatable."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the figures; without --figure, all that have data are written. "
            "[default: current folder]",
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(help="Scenario of the figures. [default: the first with label noise]"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Print the table of sweeps, and write figures and a page."""
    check_output_files(out or (), html, figures)
    spread_measure = Spread.from_flag(spread)
    if layout is None and locations.uses_home_store:
        from orchestrator.recorded_names import check_recorded, require_sweeps

        if table is None:
            require_sweeps(locations.home)
        check_recorded(locations.home, sweeps or ())
    from orchestrator.commands import joined_report
    from orchestrator.commands import report as report_command
    from reports.figures.report import FigureRequest

    flags_of_one_sweep = {
        "--html": html is not None,
        "--paper": paper,
        "--pairs": pairs,
        "--ranks": ranks,
        "--spread": spread_measure is not Spread.SD,
        "--columns": bool(columns),
        "--figure": bool(figure),
        "--figures": figures is not None,
        "--scenario": scenario is not None,
    }
    if table is not None:
        joined_report.check_flags("--table", flags_of_one_sweep | {"--layout": layout is not None})
        raise typer.Exit(
            joined_report.print_paper_table(table, sweeps or (), locations, out or (), as_json=json)
        )
    if layout is not None or len(sweeps or ()) > 1:
        table_flag = "--layout" if layout is not None else "several sweeps"
        joined_report.check_flags(table_flag, flags_of_one_sweep)
        raise typer.Exit(
            joined_report.print_joined_table(
                layout, sweeps or (), locations, out or (), as_json=json
            )
        )
    request = report_command.ReportRequest(
        table_files=out or (),
        page_file=html,
        figures=FigureRequest.from_flags(figure or (), figures, scenario),
        has_verdicts=paper,
        has_pairs=pairs,
        has_ranks=ranks,
        spread=spread_measure,
        columns=columns,
    )
    sweep = next(iter(sweeps or ()), None)
    raise typer.Exit(report_command.run(sweep, locations, request, as_json=json))


@app.command()
@with_flags(
    *("study", SINGLE_SCENARIO, "seed", "subset", "sets", "data_dir", "home_dir", "allow_code"),
    "json",
)
@resumable
def noise(
    study_flags: StudyFlags,
    locations: Locations,
    seed: Annotated[int, typer.Option(min=0, max=MAX_INTEGER, help="Base seed of the draw.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Draw, describe and save a study's noisy labels for one seed."""
    from orchestrator.commands import noise as noise_command

    raise typer.Exit(noise_command.run(study_flags, locations, seed, as_json=json))


data_app = typer.Typer(
    cls=CommandGroup, help="List, check and prepare datasets.", rich_markup_mode=None
)
app.add_typer(data_app, name="data")
DatasetArgument = Annotated[str, typer.Argument(help="Name of a dataset, see `data list`.")]


@data_app.command("list")
@with_flags("home_dir", "data_dir", "json")
def data_list(locations: Locations, json: JsonFlag = False) -> None:
    """Show which datasets are present, and where to get the others."""
    from orchestrator.commands import data as data_command

    raise typer.Exit(data_command.list_datasets(locations.dataset_dir, as_json=json))


@data_app.command("check")
@with_flags("dataset", "home_dir", "data_dir", "decode", "allow_code", "json")
@resumable
def data_check(
    dataset: DatasetArgument,
    locations: Locations,
    decode: Annotated[
        bool, typer.Option(help="Also decode every picture file that training runs read.")
    ] = True,
    allow_code: AllowCodeFlag = False,
    json: JsonFlag = False,
) -> None:
    """Read a dataset, count its classes, and list unreadable pictures.

    Missing files are downloaded where possible.
    """
    from orchestrator.approval import load_reference
    from orchestrator.commands import data as data_command

    name = load_reference("dataset", dataset, None, allow_code=allow_code)
    raise typer.Exit(data_command.check(name, locations.dataset_dir, decode=decode, as_json=json))


@data_app.command("prepare")
@with_flags("dataset", "home_dir", "data_dir", "allow_code")
@resumable
def data_prepare(
    dataset: DatasetArgument, locations: Locations, allow_code: AllowCodeFlag = False
) -> None:
    """Download a dataset where possible, and decode it into the cache."""
    from orchestrator.approval import load_reference
    from orchestrator.commands import data as data_command

    name = load_reference("dataset", dataset, None, allow_code=allow_code)
    raise typer.Exit(data_command.prepare(name, locations.dataset_dir, locations.home))


sweeps_app = typer.Typer(
    cls=CommandGroup,
    help="List, describe and remove the sweeps of a home folder.",
    rich_markup_mode=None,
)
app.add_typer(sweeps_app, name="sweeps")
DigestArgument = Annotated[str, typer.Argument(help="The beginning of a sweep's digest.")]


@sweeps_app.command("list")
@with_flags("home_dir", "json")
def sweeps_list(locations: Locations, json: JsonFlag = False) -> None:
    """List the sweeps with their size on the disk."""
    from orchestrator.commands import sweeps as sweeps_command

    raise typer.Exit(sweeps_command.list_sweeps(locations.home, as_json=json))


@sweeps_app.command("show")
@with_flags("digest", "home_dir", "json")
def sweeps_show(digest: DigestArgument, locations: Locations, json: JsonFlag = False) -> None:
    """Show the runs of a sweep by phase and status, and what it shares with others."""
    from orchestrator.commands import sweeps as sweeps_command

    raise typer.Exit(sweeps_command.show(locations.home, digest, as_json=json))


@sweeps_app.command("remove")
@with_flags("digest", "home_dir", "tracking_uri", "yes", "dry_run")
def sweeps_remove(
    digest: DigestArgument,
    locations: Locations,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
) -> None:
    """Move a sweep to trash/, with the runs that nothing else uses."""
    from orchestrator.commands import sweeps as sweeps_command

    raise typer.Exit(sweeps_command.remove(locations, digest, yes=yes, dry_run=dry_run))


@app.command()
@with_flags("sweep", "home_dir", "watch", "json")
def status(
    locations: Locations,
    sweep: Annotated[
        str | None,
        typer.Argument(
            help="Name of a study, path of its YAML file, or beginning of a sweep's digest. "
            "[default: all sweeps]"
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print again and again while a process carries it out.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show how a sweep stands, while it runs or after it has died."""
    from orchestrator.commands import status as status_command

    raise typer.Exit(status_command.run(locations, sweep, watch=watch, as_json=json))


@app.command()
@with_flags("run", "home_dir", "follow")
def logs(
    run: RunArgument,
    locations: Locations,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on printing while a process trains the run.")
    ] = False,
) -> None:
    """Print the log of a run: attempts, warnings and tracebacks."""
    from orchestrator.commands import logs as logs_command

    raise typer.Exit(logs_command.run(locations.home, run, follow=follow))


NamedRunArgument = Annotated[
    str,
    typer.Argument(
        help="The beginning of a run's digest; its ID in MLflow; or STUDY/SCENARIO/METHOD for all "
        "seeds of a cell, such as cifar10/symmetric-0.4/nal, with /tuned or /reference for one of "
        "several."
    ),
]


@app.command()
@with_flags("run", "epochs", "home_dir", "data_dir", "tracking_uri", "allow_code", "json")
def reproduce(
    run: NamedRunArgument,
    locations: Locations,
    epochs: Annotated[
        int | None, typer.Option(help="Compare the first epochs only. [default: all]")
    ] = None,
    allow_code: AllowCodeFlag = False,
    json: JsonFlag = False,
) -> None:
    """Train recorded runs again, and compare them bit for bit.

    The runs that a run needs are trained again too. Exit code: 0 identical; 3 within tolerance, on
    another device or other libraries; 4 differs; 5 the same, but the record was altered.
    """
    from orchestrator.commands import reproduce as reproduce_command

    raise typer.Exit(
        reproduce_command.run(locations, run, epochs, allow_code=allow_code, as_json=json)
    )


@app.command()
@with_flags("run", "out", "home_dir", "data_dir", "tracking_uri", "allow_code")
def bundle(
    run: NamedRunArgument,
    locations: Locations,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="New folder. [default: bundle-RUN]")
    ] = None,
    allow_code: AllowCodeFlag = False,
) -> None:
    """Write a folder with which others train recorded runs again.

    It has the records, noisy labels, package versions, code and a script, but no data.
    """
    from orchestrator.commands import bundle as bundle_command

    raise typer.Exit(bundle_command.run(locations, run, out, allow_code=allow_code))


@app.command()
@with_flags(
    *("run", "home_dir", "data_dir", "out", "count", "score", "probabilities", "allow_code"),
    "json",
)
def suspects(
    run: RunArgument,
    locations: Locations,
    out: Annotated[Path | None, typer.Option(help="Output folder. [default: suspects-RUN]")] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of pictures on the contact sheet.")
    ] = 48,
    score: Annotated[
        str | None,
        typer.Option(
            help="balanced-margin, label-probability, margin, disagreement, last-epoch, loss or "
            "attention. [default: balanced-margin]"
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(help=".csv or .npz file for mean probabilities and labels, as for cleanlab."),
    ] = None,
    allow_code: AllowCodeFlag = False,
    json: JsonFlag = False,
) -> None:
    """Rank a run's samples by how likely they are mislabelled."""
    from orchestrator.commands import suspects as suspects_command

    raise typer.Exit(
        suspects_command.run(
            locations,
            run,
            out,
            count,
            allow_code=allow_code,
            as_json=json,
            score_name=score,
            probabilities_path=probabilities,
        )
    )


@app.command()
@with_flags("run", "files", "home_dir", "out", "allow_code")
def predict(
    run: RunArgument,
    files: Annotated[
        list[Path],
        typer.Argument(help="Pictures, or .npy and .npz files with uint8 arrays of images."),
    ],
    locations: Locations,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write. [default: standard output]")
    ] = None,
    allow_code: AllowCodeFlag = False,
) -> None:
    """Classify images by the network of a run."""
    from orchestrator.commands import predict as predict_command

    raise typer.Exit(predict_command.run(locations, run, files, out, allow_code=allow_code))


@app.command()
@with_flags("run", "file", "home_dir", "tracking_uri", "log", "allow_code")
def export(
    run: RunArgument,
    locations: Locations,
    file: Annotated[Path | None, typer.Argument(help="File to write: NAME.pt2.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Also log the model to the run in MLflow.")
    ] = False,
    allow_code: AllowCodeFlag = False,
) -> None:
    """Write the network of a run as a torch.export program."""
    from orchestrator.commands import export as export_command

    raise typer.Exit(
        export_command.run(locations, run, file, logs_model=log, allow_code=allow_code)
    )


@app.command()
@with_flags("home_dir", "tracking_uri")
@resumable
def sync(locations: Locations) -> None:
    """Rebuild MLflow's records from the runs in the home folder."""
    from orchestrator.commands import sync as sync_command

    raise typer.Exit(sync_command.run(locations))


@app.command()
@with_flags("home_dir", "data_dir", "tracking_uri", "search_storage", "ray_address", "json")
def doctor(locations: Locations, json: JsonFlag = False) -> None:
    """Check this machine, the services and the records."""
    from orchestrator.commands import doctor as doctor_command

    raise typer.Exit(doctor_command.run(locations, as_json=json))


@app.command()
@with_flags("home_dir", "host", "port")
def ui(
    locations: Locations,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve MLflow's web interface for the runs in the home folder."""
    from orchestrator.commands import ui as ui_command

    raise typer.Exit(ui_command.run(locations.home, host, port))
