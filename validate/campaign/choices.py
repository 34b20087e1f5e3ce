"""Choices: the same text decoded under every option of one setting, to see whether a prediction picks the right one.

A case is a shape, a text (flips between exits drawn independently), a prompt and one setting of SPEED; its points are
the setting's values in order. Where the fastest is neither the first nor the last, the case tells a good predictor from
one that always says "more" or "less": deep speculation costs squashed rows, every exit that is read costs a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speedsim import trace
from speedsim.schedules.speed import Speed

from ..bench.experiment import Bench, Experiment
from ..play import Player
from .cases import decoder_for, model_for

TEXTS = {"calm": 0.03, "paper": 0.1, "restless": 0.3}
"""Chance that a prediction changes from one exit to the next."""
PROMPTS = (64, 4096)
EXITS = {
    6: ((1, 6), (1, 2, 6), (1, 2, 3, 6), (1, 2, 3, 4, 6), (1, 2, 3, 4, 5, 6)),
    4: ((1, 4), (1, 2, 4), (1, 2, 3, 4)), 3: ((1, 3), (1, 2, 3), (2, 3)),
}


def options(setting: str, repetitions: int) -> tuple[Speed, ...]:
    """The values of a setting, in order."""
    g = repetitions
    if setting == "max_in_flight":
        return tuple(Speed(max_in_flight=n) for n in range(1, g + 1))
    if setting == "first_exit":
        return tuple(Speed(first_exit=n) for n in range(1, g + 1))
    return tuple(Speed(first_exit=min(exits), exits=exits) for exits in EXITS[g])


def _points(bench: Bench) -> Iterable[dict[str, Any]]:
    models = {"speed_2x6": 6, "speed_4x4": 4, "speed_4x3": 3}
    texts, prompts = TEXTS, PROMPTS
    if bench.quick or not bench.cuda:
        models, texts, prompts = {"speed_4x3": 3}, {"paper": TEXTS["paper"]}, PROMPTS[:1]
    for model, g in models.items():
        for text in texts:
            for prompt in prompts:
                for setting in ("max_in_flight", "first_exit", "exits"):
                    for number in range(len(options(setting, g))):
                        yield {"case": f"{model} {text} {prompt} {setting}", "option": number, "model": model,
                               "text": text, "prompt": prompt, "setting": setting}


def facts(bench: Bench, point: Mapping[str, Any], repetitions: int) -> trace.Sequence:
    """The text of a case."""
    count = 96 if bench.cuda else 6
    flips = (TEXTS[point["text"]],) * (repetitions - 1)
    (found,) = trace.synthetic(flips, repetitions, count, 1, bench.seed, first=point["prompt"]).sequences
    return found


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    model = model_for(bench, point["model"])
    text = facts(bench, point, model.repetitions)
    player = Player(decoder_for(bench, model), point["prompt"] + text.count + 2, source="campaign")
    schedule = options(point["setting"], model.repetitions)[point["option"]]

    def sample() -> float:
        return player.replay(schedule, [text]).decode_ps / 1e6

    for _ in range(2):  # the first run captures the graphs
        sample()
    return {"schedule": str(schedule), **bench.point(sample)}


CHOICES = Experiment(
    "choices", "a decode under every value of one setting of SPEED",
    ("case", "option", "model", "text", "prompt", "setting"),
    ("schedule",), _points, _measure, 200)
