"""Text of the job script that carries out a sweep on a Ray cluster inside one Slurm job.

`ray symmetric-run` is not used: it refuses to start where the user already has a Ray, and ends with
`ray stop`, which stops every Ray of the user on the node, also that of another job. It does not
forward the signals of Slurm either.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.slurm import sbatch_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TEMPLATE = r"""#!/bin/bash
# Carries out a sweep on a Ray cluster that lives as long as this job.
# Written by `python -m orchestrator launch slurm`. Lines that prepare the machine, such as
# `module load`, may be added before `cd`.
{options}

set -uo pipefail
umask 077

fail() {{
    echo "error: $1" >&2
    exit 2
}}

home={home}
sweep=({sweep})
export python={python}
{environment}
cd {folder} || fail "the node $(hostname) has no folder "{folder}": submit from a shared folder"
[ -e "$home/format" ] ||
    fail "the node $(hostname) cannot read --home $home: choose a folder that all nodes share"

# What belongs to this job alone: ports, the folders of Ray, and the token without which nobody can
# use this Ray. The token is in a folder that only the user can read.
job=$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}
export ray_port=$((20000 + 2 * (SLURM_JOB_ID % 6000)))
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$home/slurm/$job.token RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS
state=$home/slurm/$SLURM_JOB_ID
log=$state.ray.log
mkdir -p "$home/slurm" && chmod 700 "$home/slurm" || fail "$home/slurm cannot be written"
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH" ||
    fail "$RAY_AUTH_TOKEN_PATH cannot be written"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
ray_head=$("$python" {safe}-c 'import ray.util; print(ray.util.get_node_ip_address())') ||
    fail "Ray cannot be imported on the node $(hostname)"
export ray_head

# Carried out on every node, by srun.
start_ray() {{
    folder=$(mktemp -d "/tmp/ray-$SLURM_JOB_ID-XXXXXX") || exit 2  # Ray opens its own to everybody
    if [ "$SLURM_NODEID" = 0 ]; then
        role=(--head --node-ip-address="$ray_head" --port="$ray_port" --include-dashboard=false)
        # With gRPC, Ray also listens for clients, by default on the same port for every job.
        ! "$python" {safe}-c 'import grpc' 2> /dev/null ||
            role+=(--ray-client-server-port=$((ray_port + 1)))
    else
        role=(--address="$ray_head:$ray_port")
    fi
    "$python" {safe}-m ray.scripts.scripts start --block "${{role[@]}}" \
        --num-cpus="$SLURM_CPUS_ON_NODE" --temp-dir="$folder/ray" --log-color=false \
        --dashboard-agent-listen-port=0 &
    trap 'kill -TERM $!' TERM USR1
    wait $! || wait $!
    rm -rf "$folder"
}}
export -f start_ray

# Slurm sends USR1 before the time limit, and TERM if the job is preempted or cancelled. The sweep
# then ends with checkpoints; at the time limit, the job goes back to the queue. Slurm itself
# requeues a job that is preempted or whose node fails.
ended_by=
driver=
trap 'ended_by=limit; [ -z "$driver" ] || kill -TERM "$driver"' USR1
trap 'ended_by=cancel; [ -z "$driver" ] || kill -TERM "$driver"' TERM

: > "$log"
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 {srun}--kill-on-bad-exit=0 \
    --output="${{log//%/%%}}" --open-mode=append bash -c start_ray &
ray=$!
started=$SECONDS
while [ -z "$ended_by" ]; do
    # Each node writes this line when it belongs to the cluster.
    count=$(grep -c 'Ray runtime started' "$log")
    [ "$count" -lt "$SLURM_JOB_NUM_NODES" ] || break
    kill -0 "$ray" 2> /dev/null || fail "Ray did not start: $(tail -n 1 "$log") ($log)"
    if [ $((SECONDS - started)) -gt {ray_patience} ]; then
        [ "$count" -gt 0 ] || fail "Ray did not start within {ray_patience} seconds: see $log"
        echo "Ray has started on $count of $SLURM_JOB_NUM_NODES nodes: the sweep uses these"
        break
    fi
    sleep 1
done

code=130
if [ -z "$ended_by" ]; then
    "${{sweep[@]}}" --ray-address "$ray_head:$ray_port" &
    driver=$!
    while wait "$driver"; code=$?; [ "$code" -gt 128 ] && kill -0 "$driver" 2> /dev/null; do :; done
    wait "$driver"
    code=$?
fi
kill -USR1 "$ray" 2> /dev/null  # srun passes this signal on
wait "$ray"

# 130 is the exit code of an interrupted sweep, and 143 that of one whose Python was just starting.
if [ "$ended_by" = limit ] && {{ [ "$code" -eq 130 ] || [ "$code" -eq 143 ]; }}; then
    # A job that never comes as far as a checkpoint would be requeued for ever.
    progress=$(find "$home/runs" -newer "$RAY_AUTH_TOKEN_PATH" \
        \( -name 'checkpoint*.pt' -o -name result.json \) -print -quit 2> /dev/null)
    if [ -n "$progress" ]; then
        rm -f "$state.stalls"
    else
        echo >> "$state.stalls"
        [ "$(wc -l < "$state.stalls")" -lt {max_stalls} ] ||
            fail "no run came as far as a checkpoint in {max_stalls} jobs: ask for more --time"
    fi
    echo "The time limit is near: the job is requeued and goes on"
    rm -f "$RAY_AUTH_TOKEN_PATH"
    scontrol requeue "$SLURM_JOB_ID" || fail "the job could not be requeued: submit it again"
    exit "$code"
fi
rm -f "$state.stalls"
[ "$code" -ne 0 ] || rm -f "$log"
exit "$code"
"""
"""Job script, with the fields that `slurm_script` fills in."""

RAY_PATIENCE_SECONDS = 300
"""Longest wait for the nodes of the job to start Ray, in seconds."""

MAX_STALLS = 3
"""Number of times in a row that a job may reach its time limit without a checkpoint."""


@dataclass(frozen=True, slots=True)
class SweepCommand:
    """The command of a sweep, and where it is carried out.

    Attributes:
        python: path of the Python interpreter.
        is_safe: whether Python must not import from the working directory (its option -P).
        arguments: arguments of `python -m orchestrator`, without the address of a Ray cluster.
        folder: working directory.
        home: home folder of the sweep.
        required_variables: names of environment variables that the job needs, with what they are.
    """

    python: str
    is_safe: bool
    arguments: Sequence[str]
    folder: Path
    home: Path
    required_variables: Mapping[str, str]


def slurm_script(options: Mapping[str, str], command: SweepCommand) -> str:
    """Return the job script that carries out a sweep.

    Every value in the script is quoted.

    Args:
        options: long options of sbatch with their values, "" for one without a value.
        command: command of the sweep.
    """
    safe = ["-P"] if command.is_safe else []
    return TEMPLATE.format(
        options=sbatch_lines(options),
        home=shlex.quote(str(command.home)),
        sweep=shlex.join([command.python, *safe, "-m", "orchestrator", *command.arguments]),
        python=shlex.quote(command.python),
        safe="".join(f"{option} " for option in safe),
        folder=shlex.quote(str(command.folder)),
        environment="\n".join(
            f'[ -n "${{{name}:-}}" ] ||\n'
            f'    fail "the environment variable {name} is not set: submit the job from a shell '
            f'in which it is {meaning}"'
            for name, meaning in command.required_variables.items()
        ),
        srun=f"--cpus-per-task={shlex.quote(options['cpus-per-task'])} ",
        ray_patience=RAY_PATIENCE_SECONDS,
        max_stalls=MAX_STALLS,
    )
