"""The demo: films of the released policy, then five tasks from recording to report: 20 minutes."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from eyehand.collection.record import MOST_EPISODES, RecordConfig, record
from eyehand.envs.suite import find_suite
from eyehand.evaluation.film import PlayConfig, play
from eyehand.evaluation.protocol import EvalConfig
from eyehand.files import check_place
from eyehand.policies.registry import find_checkpoint, load_policy
from eyehand.runs.measure import measure
from eyehand.runs.train import TrainingRun, run_training
from eyehand.training.config import TrainConfig
from eyehand.types import check_ranges

SHOWN = (
    ("drawer-open", "Pull the drawer towards you"),
    ("faucet-open", "Rotate the faucet counter-clockwise"),
    ("faucet-close", "Rotate the faucet clockwise"),
)
"""Tasks in the films of the released policy, and the sentences that it is told. The last two share
a scene, so that only the sentence tells them apart."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings for 20 minutes on two cores."""

    out: Path = Path("outputs/demo")
    """Folder for the data set, the policy and the evaluation."""
    suite: str = "metaworld"
    """The benchmark."""
    tasks: str = "drawer-open,window-close,button-press-topdown,faucet-open,faucet-close"
    """Task names, separated by commas."""
    demonstrations: int = 50
    """Recorded episodes per task."""
    minutes: float = 6.0
    """Minutes of training."""
    episodes: int = 20
    """Evaluated episodes per task."""
    workers: int = 2
    """Simulator processes."""

    def __post_init__(self) -> None:
        """Check everything before the first stage: a later one begins hours after."""
        check_ranges(self, demonstrations=(1, MOST_EPISODES))
        TrainConfig(minutes=self.minutes)
        self.recording()
        self.evaluation()

    def recording(self) -> RecordConfig:
        """Return the first stage."""
        return RecordConfig(
            out=self.out / "data",
            suite=self.suite,
            tasks=self.tasks,
            episodes=self.demonstrations,
            workers=self.workers,
            perturbation=0.4,
        )

    def evaluation(self) -> EvalConfig:
        """Return the last stage."""
        return EvalConfig(
            out=self.out / "evaluation",
            suite=self.suite,
            tasks=self.tasks,
            episodes=self.episodes,
            workers=self.workers,
        )


def demo(config: DemoConfig, recipe: TrainingRun) -> None:
    """Record, train ``recipe``, evaluate and report; finished work is kept."""
    check_place(config.out, folder=True)
    config.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    console.rule("the released policy, told three sentences")
    show_released(config.out / "released", console)
    policy = config.out / "policy"
    console.rule("1 of 3: record demonstrations")
    record(config.recording())
    console.rule("2 of 3: train")
    training = replace(recipe.training, minutes=config.minutes, steps=None)
    run_training(replace(recipe, training=training), [config.recording().out], policy, resume=True)
    console.rule("3 of 3: evaluate on new start states")
    measure(policy, config.evaluation())
    task = config.tasks.split(",")[0]
    words = find_suite(config.suite).instructions(task).held_out[0]
    console.print(
        "Next, tell it a sentence that it was not trained on: "
        f'eyehand play {policy} --task {task} --instruction "{words}"',
        soft_wrap=True,
    )


def show_released(folder: Path, console: Console) -> None:
    """Film the released policy; films that exist are kept."""
    released = load_policy(find_checkpoint(Path("mt50")))
    for number, (task, sentence) in enumerate(SHOWN, start=1):
        film = folder / f"{number}-{task}.mp4"
        if not film.exists():
            config = PlayConfig(task=task, instruction=sentence, out=film)
            outcome = play(released, config, cameras=released.cameras)
            ending = f"{task} succeeded" if outcome.success else f"{task} did not succeed"
            console.print(f"told {sentence!r}: {ending} after {outcome.steps} steps")
    console.print(f"films: {folder}", soft_wrap=True)
