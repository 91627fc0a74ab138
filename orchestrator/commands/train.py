"""The `train` command, which trains one run in this process, without Ray."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.display import ProgressBars
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.output import CommandConsole, facts_table, print_json
from orchestrator.planning.cost import MachineCost, format_duration, measure_run_cost
from orchestrator.planning.loading import job_of, load_plan, wants_system_metrics
from orchestrator.planning.sizes import RunGroup, network_key
from orchestrator.sweeping.tasks import RunList
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.home_store import update_home_store
from reports.store import check_store
from reports.words import format_count, format_extension, format_values
from search_spaces.fields import tunable_parameters_of
from search_spaces.loader import parse_set_flag
from search_spaces.schema import Phase, Study
from trainables.backbones import backbone_of
from trainables.errors import FieldError, StudyError, suggest
from trainables.extensions import without_hash
from trainables.methods import check_state_size, method_of
from trainables.noise import noise_of
from trainables.run.protocols import protocol_of
from trainables.run.record import Record
from trainables.run.result import LabelStatistics, RunResult, Status
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from orchestrator.flags import Locations, StudyFlags
    from orchestrator.planning.plan import Plan
    from trainables.run.parameters import Value
    from trainables.run.spec import RunSpec

LOCK_PATIENCE_SECONDS = 60.0
"""Longest time to wait for another process that trains the same run, in seconds."""


def run(
    study_flags: StudyFlags, locations: Locations, method: str, seed: int, *, as_json: bool
) -> int:
    """Train one run with the settings of a study's confirm phase, and record it.

    Args:
        study_flags: flags that select the study and change it; a `--set` whose key is a
            parameter of the method, or a value of the recipe that a search can vary, sets it.
        locations: locations of the data and the home folder.
        method: name of the method to train.
        seed: base seed of all random draws, except those whose seed the study fixes.
        as_json: whether to print the result as JSON on standard output.

    Returns:
        The exit code: 0, or 1 if the run did not finish.

    Raises:
        NalError: if the run cannot be carried out.
    """
    console = CommandConsole(stderr=as_json)
    try:
        method = study_flags.method_name(method)
        method_of(method)
    except FieldError as error:
        raise StudyError(f"--method: {error.message}") from error
    study_flags, values = _split_assignments(study_flags, method)
    study_flags.load()
    if locations.tracking_uri is not None:
        check_store(locations.store_uri)
    wants_system_metrics()
    plan = load_plan(study_flags, locations, console, may_write=True).plan
    try:
        spec = plan.spec(Phase.CONFIRM, method, plan.study.scenarios[0], values, seed)
        for run_spec in (*plan.needs_of(spec), spec):
            run_method = method_of(run_spec.method)
            run_values = run_spec.hyperparameters
            run_method.check(run_values, run_spec.recipe.epochs)
            check_state_size(run_method, run_values, plan.sample_count, len(plan.dataset.classes))
    except FieldError as error:
        raise StudyError(f"--set {error.field}: {error.message}") from error
    home, uri = locations.home, locations.store_uri
    if locations.uses_home_store:
        update_home_store(home)
    results: dict[str, RunResult] = {}
    on_notice = partial(console.print, soft_wrap=True)
    with BackgroundTracker(home, uri, plan.name, on_notice) as tracker:
        if locations.tracking_uri is not None:
            tracker.flush()  # a store that cannot be opened is refused before anything is trained

        def record_result(result: RunResult) -> None:
            results[result.digest] = result
            tracker.record(result, "train")

        train_in_this_process((*plan.needs_of(spec), spec), plan, locations, console, record_result)
    result = results[spec.digest]
    if as_json:
        print_json(result.to_dict())
    else:
        console.print(
            _result_table(
                result, values, len(plan.dataset.train), str(home.path / "runs" / result.digest)
            )
        )
    return 0 if result.status is Status.FINISHED else 1


def train_in_this_process(
    specs: Sequence[RunSpec],
    plan: Plan,
    locations: Locations,
    console: Console,
    on_result: Callable[[RunResult], None],
) -> None:
    """Train some runs of a plan in this process, except those that are recorded already.

    All of them are marked as standalone: they stay if a sweep that has them too is removed.

    Args:
        specs: specs of the runs; a run comes after the runs whose results it uses.
        plan: plan that the runs belong to.
        locations: locations of the data and the home folder.
        console: console that shows the progress.
        on_result: callback that receives the result of each run, recorded or new.

    Raises:
        NalError: if a run cannot be carried out.
    """

    def end_run(result: RunResult) -> None:
        Record(locations.home_dir, result.digest).mark_as_standalone()
        on_result(result)

    with locations.home.in_use():
        needed_digests = {str(digest) for spec in specs for digest in spec.needs.values()}
        for digest in needed_digests:
            Record(locations.home_dir, digest).discard_if_cleaned()
        missing_specs = []
        for spec in specs:
            recorded_result = Record(locations.home_dir, spec.digest).read_result()
            if recorded_result is None or not recorded_result.is_final:
                missing_specs.append(spec)
                continue
            console.print(f"{spec.title} is already recorded: nothing is left to train.")
            end_run(recorded_result)
        for spec in missing_specs:
            if spec in plan.posterior_specs:
                _announce_posterior(spec, plan, locations, console)
        if not missing_specs:
            return
        job = replace(job_of(locations, plan), patience_seconds=LOCK_PATIENCE_SECONDS)
        with ProgressBars(console) as bars:
            InlineEngine().carry_out(RunList(missing_specs, end_run), job, bars)


def _announce_posterior(
    posterior_spec: RunSpec, plan: Plan, locations: Locations, console: Console
) -> None:
    """Print that the noisy labels need a network to be trained first, and how long that takes."""
    with console.status("measuring the time of a training step on this machine"):
        cost = measure_run_cost(posterior_spec, plan, locations.home, may_write=True)
    machine_cost = MachineCost({network_key(posterior_spec): cost}, cost.device)
    seconds = machine_cost.run_seconds(RunGroup(1, posterior_spec, plan.sample_count, 0, 0))
    console.print(
        f"{noise_of(plan.study.scenarios[0]).title} is drawn from the predictions of a network "
        f"trained once on clean labels: {backbone_of(posterior_spec.backbone).title}, "
        f"{format_count(posterior_spec.recipe.epochs, 'epoch')}, about "
        f"{format_duration(seconds)} on this machine.",
        soft_wrap=True,
    )


def _split_assignments(study_flags: StudyFlags, method: str) -> tuple[StudyFlags, dict[str, Value]]:
    """Separate the `--set` flags that set hyperparameters from those that change the study.

    Returns:
        The flags without assignments to hyperparameters, and the values of the hyperparameters.
    """
    parameters = tunable_parameters_of(method)
    values: dict[str, Value] = {}
    study_assignments = []
    for assignment in study_flags.sets:
        change = parse_set_flag(assignment)
        if change.key not in parameters:
            if change.key.split(".")[0] not in Study.model_fields:
                hint = suggest(change.key, [*parameters, *Study.model_fields])
                raise StudyError(
                    f"{change.flag}: neither a parameter of {without_hash(method)} nor a key of a "
                    f"study: {hint}"
                )
            study_assignments.append(assignment)
            continue
        try:
            values[change.key] = parameters[change.key].check(change.value)
        except FieldError as error:
            raise StudyError(f"{change.flag}: {error.message}") from error
    return replace(study_flags, sets=tuple(study_assignments)), values


def _labels_text(labels: LabelStatistics) -> str:
    """Return a text that describes noisy labels by their flip rate and SHA-256."""
    nominal_text = f" (nominal {labels.nominal_rate:.0%})" if labels.nominal_rate else ""
    rate_text = "true flip rate not known"
    if labels.flip_rate is not None:
        rate_text = f"true flip rate {labels.flip_rate:.2%}{nominal_text}"
    return f"{rate_text}, SHA-256 {labels.sha256[:12]}"


def _result_table(
    result: RunResult, values: Mapping[str, Value], dataset_size: int, folder: str
) -> Table:
    """Return a table that summarises the result of a run.

    Args:
        result: result of the run.
        values: hyperparameters that the user set with `--set`.
        dataset_size: number of samples in the dataset's training split.
        folder: path of the folder with the run's record.
    """
    facts = [("run", result.digest), ("status", f"{result.status} {result.reason}".strip())]
    if values:
        facts.append(("set", format_values(values)))
    held_out = held_out_count(result.spec.hold_out, result.labels.count)
    used_count = result.labels.count - held_out - result.skipped
    images_text = (
        "all images" if used_count == dataset_size else f"{used_count} of {dataset_size} images"
    )
    if held_out:
        images_text += f"; the noisy labels of {held_out} others are held out"
    facts += [("code", format_extension(name, sha256)) for name, sha256 in result.spec.code.items()]
    facts += [("trained on", images_text), ("labels", _labels_text(result.labels))]
    if result.skipped:
        facts.append(("left out", f"{result.skipped} training pictures that cannot be read"))
    protocol = protocol_of(result.spec.recipe)
    facts.append(("means", f"over the {protocol.epochs_text}"))
    facts += [
        (name, f"{value:.2%}" if "accuracy" in name else f"{value:.3f}")
        for name, value in result.summary(protocol).items()
    ]
    return facts_table([*facts, ("device", result.provenance["device"]), ("record", folder)])
