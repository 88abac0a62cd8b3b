"""`hipgpt train`: from a text to a model, or on with a run that was begun before.

The odd thing: everything it needs is imported inside, so that `hipgpt train --help` is quick.
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import StoppedError
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import Integer, Number, option

if TYPE_CHECKING:
    from pathlib import Path

    from hipgpt_cli.fit import Outcome
    from hipgpt_cli.runs import Run
    from hipgpt_cli.session import Session
    from hipgpt_cli.signals import Interrupts
    from hipgpt_cli.tensorboard import EventWriter
    from hipgpt_model.distributed.world import World
    from hipgpt_model.train import Trainer


@click.command(
    "train",
    cls=options.Command,
    short_help="Train a model on text, and save it in a folder.",
    examples=(
        "hipgpt train --data shakespeare",
        "hipgpt train --data my.txt --steps 5000 --dim 256 --layers 4",
        "hipgpt train --init-from gpt2 --data my.txt --lr 1e-4",
        "hipgpt train --resume",
    ),
)
@option_sets.source_option("What to learn from", "stdlib")
@option(
    "--tokenizer-path",
    type=Existing(dir_okay=False),
    metavar="FILE",
    group="Text",
    help="Use this tokenizer.json instead of training one on the text.",
)
@option(
    "--tokens-path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    group="Text",
    help="Keep the encoded text here instead of in the run's folder, so that runs share it.",
)
@option_sets.run_options(
    "Name of the new run, or of the run to resume.", show_default="time and text"
)
@option(
    "--resume",
    is_flag=True,
    group="Run",
    help="Go on with the newest run, or with --run-name, as it was configured.",
)
@option(
    "--ckpt",
    type=Existing(dir_okay=False),
    metavar="FILE",
    group="Run",
    help="Go on from this checkpoint of a run, in a new run.",
)
@option(
    "--init-from",
    metavar="MODEL",
    group="Run",
    shell_complete=option_sets.models,
    help="Begin with the weights of this run or checkpoint file, and with its shape and tokenizer: "
    "an imported GPT-2, say. --seq may be smaller, and --dropout another one.",
)
@option(
    "--reset",
    is_flag=True,
    group="Run",
    help="Delete the run of this --run-name first: tokenizer, ids and checkpoints.",
)
@option(
    "--ckpt-every",
    type=Integer(0),
    default=500,
    group="Run",
    help="Steps between checkpoints; 0: only at the end.",
)
@option(
    "--keep-last",
    type=Integer(1),
    default=5,
    group="Run",
    help="How many of the newest checkpoints to keep.",
)
@option(
    "--keep-best",
    type=Integer(0),
    default=0,
    group="Run",
    help="Save after an evaluation that is the best so far, and keep so many of the best.",
)
@option(
    "--keep-every",
    type=Integer(0),
    default=0,
    metavar="STEPS",
    group="Run",
    help="Keep every checkpoint whose step is a multiple of this; 0: none for that reason.",
)
@option(
    "--log-every",
    type=Integer(1),
    default=50,
    group="Run",
    help="Steps between reports: a line, where there is no live bar, and in metrics.jsonl.",
)
@option(
    "--sample-every",
    type=Integer(0),
    default=0,
    metavar="STEPS",
    group="Run",
    help="Steps between samples of what the model writes, kept in samples.jsonl; 0: only at the "
    "end, on the screen.",
)
@option(
    "--tensorboard/--no-tensorboard",
    default=False,
    group="Run",
    help="Write event files for TensorBoard into the run's folder, too.",
)
@option_sets.training_options()
@option_sets.model_size_options()
@option_sets.device_options()
@option(
    "--graph/--no-graph",
    default=True,
    group="Device",
    help="Launch a step on a GPU as one graph; without, kernel by kernel: slower, the same bits.",
)
@option(
    "--zero",
    type=click.IntRange(0, 1),
    default=1,
    group="Processes",
    help="Of several processes (mpirun, srun): 1 shares the optimizer's memory and work out, 0 "
    "keeps all of it in each.",
)
@option(
    "--timeout",
    type=Number(1),
    default=600.0,
    metavar="SECONDS",
    group="Processes",
    help="End the job where a process stands still for so long.",
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Train a model on text, and save it in a folder of its own.

    Without options it learns from Python's own standard library, which every machine has, and
    takes a minute or two on two cores. Ctrl-C saves and stops; --resume goes on.
    """
    from hipgpt_cli.ranks import Lead
    from hipgpt_cli.session import session
    from hipgpt_cli.signals import Interrupts

    if params["reset"] and (params["resume"] or params["ckpt"]):
        raise click.UsageError("--reset starts over and --resume goes on; choose one", ctx)
    if params["init_from"] and (params["resume"] or params["ckpt"]):
        raise click.UsageError(
            "--init-from begins a new run, with weights alone, and "
            f"{'--resume' if params['resume'] else '--ckpt'} goes on with one; choose one",
            ctx,
        )
    if params["resume"] and params["ckpt"]:
        raise click.UsageError(
            "--resume goes on in the same run and --ckpt in a new one; choose one", ctx
        )
    world = _world()
    if world is not None and not world.leads:
        _follow(world)
        return
    lead = Lead(world)
    with Interrupts() as interrupts, lead.leading(), session(ctx, params, lead) as ready:
        say.fact("Run", str(ready.run.path))
        _train(ready, params, interrupts)


def _world() -> World | None:
    """The processes that mpirun or srun started; None for one by itself."""
    from hipgpt_model.distributed.world import find_world, launched_processes

    return find_world() if launched_processes() > 1 else None


def _follow(world: World) -> None:
    """Do what rank 0 says. Signals reach every rank; rank 0 alone heeds them, and ends us."""
    import signal

    from hipgpt_cli.ranks import follow_lead

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    follow_lead(world)


def _train(ready: Session, params: dict[str, Any], interrupts: Interrupts) -> None:
    from hipgpt_cli.fit import Fit, Saving
    from hipgpt_cli.metrics import Metrics
    from hipgpt_cli.retention import Keep
    from hipgpt_cli.sample import say_sample

    run, trainer = ready.run, ready.trainer
    settled = ready.config["options"]
    events = _events(ready) if settled["tensorboard"] else None
    metrics = Metrics(run.metrics, trainer.step, followers=[events] if events else [])
    best = max(settled["keep_best"], int(trainer.config.patience > 0))
    keep = Keep(settled["keep_last"], best, settled["keep_every"])
    saving = Saving(settled["log_every"], settled["ckpt_every"], keep, settled["sample_every"])
    begun, start = trainer.step, time.perf_counter()
    outcome = Fit(trainer, run, metrics, saving, ready.tokenizer, interrupts, ready.figures)()
    run.write_config(ready.config)  # with the time: the newest run is the one that ended last
    report = _report(run)
    if outcome.signal is not None:
        raise StoppedError(outcome.signal, _how_to_go_on(outcome, trainer, params))
    seconds = human.duration(time.perf_counter() - start)
    say.fact("Trained", f"{human.count(trainer.step - begun)} steps in {seconds}")
    if trainer.ranks is not None:
        size = trainer.ranks.world.size
        speed = trainer.tokens_per_s
        say.fact(
            "Speed", f"{human.short(speed)} tokens/s in all, {human.short(speed / size)} a rank"
        )
    if outcome.best_step is not None:
        best_file = run.checkpoint(outcome.best_step)
        say.fact("Ended", f"early: no evaluation since step {human.count(outcome.best_step)} was "
                          f"better; that model is {best_file}")  # fmt: skip
    say.fact("Saved", _describe_file(outcome.checkpoint))
    if report is not None:
        say.fact("Report", str(report))
    prompt = say_sample(trainer, ready.tokenizer)
    start_with = ("--prompt", prompt) if prompt else ()
    say.next_command("hipgpt", "generate", *_where(params), *start_with)


def _report(run: Run) -> Path | None:
    """Write the run's report; a page that cannot be written is no reason to fail."""
    from hipgpt_cli.errors import UserError, describe_os_error
    from hipgpt_cli.report import write_report

    try:
        return write_report(run)
    except UserError:
        return None  # no step was recorded yet
    except OSError as error:
        say.note(f"the report was not written: {describe_os_error(error)}")
        return None


def _events(ready: Session) -> EventWriter:
    """The writer of TensorBoard's events, with the run's configuration in it."""
    from hipgpt_cli.tensorboard import EventWriter

    events = EventWriter(ready.run.tensorboard, after=ready.trainer.step)
    values = {**ready.config["options"], **ready.config["model"], **ready.config["training"]}
    events.configuration(values)
    return events


def _how_to_go_on(outcome: Outcome, trainer: Trainer, params: dict[str, Any]) -> str:
    done, steps = human.count(trainer.step), human.count(trainer.config.steps)
    saved = f"Stopped after step {done} of {steps}; saved {_describe_file(outcome.checkpoint)}."
    if trainer.step == trainer.config.steps:
        return saved
    command = shlex.join(["hipgpt", "train", *_where(params), "--resume"])
    return f"{saved} To go on: {command}"


def _describe_file(path: Path) -> str:
    return f"{path} ({human.size(path.stat().st_size)})"


def _where(params: dict[str, Any]) -> tuple[str, ...]:
    """The option that finds this run again from a new command line."""
    return () if params["runs_dir"] == "runs" else ("--runs-dir", params["runs_dir"])
