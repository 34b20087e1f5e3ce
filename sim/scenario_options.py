"""The options that name a scenario, for every verb that asks about one."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from .units import InputError

if TYPE_CHECKING:
    from .scenario import Scenario


def add_options(parser: argparse.ArgumentParser, but: Collection[str] = ()) -> None:
    """Add what `scenario` reads, but for options that a verb reads in its own way and fills in before it asks."""

    def add(name: str, **told: Any) -> None:
        if name not in but:
            parser.add_argument(name, **told)

    add("--gpu", default="h200_sxm", metavar="NAME", help="what is soldered (default h200_sxm)")
    add("--stack", default="torch_graph", metavar="NAME", help="software (default torch_graph)")
    add("--model", default="speed_2x6", metavar="NAME|FILE", help="decoder, or a config.json (default speed_2x6)")
    add("--trace", metavar="NAME|FILE", help="recorded text (default: the model's)")
    add("--synth", metavar="flips=F+F+...", help="synthetic text: flip rates between exits[,count=N,seed=N]")
    add("--acceptance", action="append", default=[], metavar="[WHO=]P,P,...|NAME",
        help="how often proposed tokens are right, level by level, or a table of workloads/acceptance")
    add("--acceptance-length", type=float, metavar="L", help="the same from the tokens committed per verification")
    add("--impute", action="store_true", help="continue a log of steps beyond the proposals it logged, by its own rate")
    add("--seed", type=int, default=0, metavar="N", help="of described acceptance (default 0)")
    add("--sampling", metavar="K=V,...", help="temperature=T[,top_k=K][,top_p=P], for its kernels (default: greedy)")
    add("--schedule", default="speed", metavar="NAME[:K=V,...]", help="way of decoding (default speed)")
    add("--max-in-flight", type=int, metavar="D", help="speculation depth, as in speed:max_in_flight=D")
    add("--batch", type=int, default=1, metavar="B", help="sequences at a time (default 1)")
    add("--tokens", type=int, metavar="N", help="whole sequences until N tokens (default 1000; a file is played whole)")
    add("--tier", default="fluid", metavar="TIER",
        help="how finely the device is simulated: roofline, fluid (default) or cycle")
    add("--exact", action="store_true", help="tier cycle: simulate every kernel, not a few of each class")
    add("--control", metavar="C", help="where the schedule decides: host, lagged:N, device (default: the stack's)")
    add("--rival-control", metavar="C", help="where the rivals' decoding is decided (default: as the schedule)")
    add("--launch", metavar="L", help="eager, stream, graph, graph+pdl or persistent (default: the stack's)")
    add("--l2", metavar="P=T,...", help="L2 policies, such as keep=group,stream=head (default: the stack's)")
    add("--prompt", type=int, metavar="P", help="position of the first token (default: the trace's)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a number, such as hbm.bandwidth=6TB/s")


def scenario(options: argparse.Namespace, record: str = "passes") -> Scenario:
    """The scenario that parsed options name. Raises InputError."""
    from .scenario import Scenario
    from .schedule_names import with_option

    schedule = options.schedule
    if options.max_in_flight is not None:
        schedule = with_option(schedule, "max_in_flight", str(options.max_in_flight))
    acceptance = list(options.acceptance)
    if options.acceptance_length is not None:
        acceptance.append(f"length:{options.acceptance_length:g}")
    return Scenario(
        gpu=options.gpu, stack=options.stack, model=options.model, trace=options.trace, synth=options.synth,
        acceptance=";".join(acceptance) or None, seed=options.seed, sampling=options.sampling, impute=options.impute,
        schedule=schedule,
        batch=options.batch, tokens=options.tokens, prompt=options.prompt, tier=options.tier, exact=options.exact,
        control=options.control,
        rival_control=options.rival_control, launch=options.launch, l2=options.l2, record=record,
        sets=tuple(_change(text) for text in options.set),
    )


def _change(text: str) -> tuple[str, str]:
    """`hbm.bandwidth=6TB/s` as (key, value)."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: write KEY=VALUE, such as hbm.bandwidth=6TB/s")
    return key.strip(), value.strip()
