"""The report of one answer: what it says, where the time goes, token by token, and what it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from ..timeline import BOUNDS, TRAFFIC
from .bars import legend, per_token, time_bars, traffic_bars, waterfall
from .documents import main_key, plain_key
from .gains import gain_plot
from .inputs import by_kind, numbers, wary
from .kernel_plots import kernel_bars, roofline
from .over_time import gap_histogram, residency, rows_histogram
from .page import Page, Section
from .pipeline import packed
from .scale import short, times, us
from .words import BOUND_NAMES, TRAFFIC_NAMES, run_name


def result_page(document: Mapping[str, Any]) -> Page:
    """The page of a speedsim-result/1 document, its timeline inside."""
    mine = main_key(document)
    timeline = document.get("timeline")
    missing = []
    if timeline is None or not timeline["rows"]:
        missing.append("the pipeline, the L2 over time and the gaps between tokens need every pass: "
                       "speedsim run --record passes --json FILE")
    if len(document["schedules"]) > 1:
        missing.append("gain against depth, heat maps and throughput curves need many runs: speedsim sweep, then "
                       "speedsim report DIR")
    data = {"pipeline": packed(timeline)} if timeline is not None and timeline["rows"] else {}
    asked = (f"{document['inputs']['gpu'].get('title', document['gpu']['name'])} · {document['stack']['name']} "
             f"(launch {document['launch']}, control {document['control']}) · {document['model']['name']} · "
             f"{document['trace']['name']} · {mine} · batch {document['batch']} · tier {document['tier']}")
    source = "predicted" if timeline is None else timeline["source"]
    return Page(f"{mine} on {document['gpu']['name']}", document["sentence"], asked, list(_cards(document, mine)),
                list(_sections(document, mine)), wary(document), missing, _footer(document, source), data)


def _footer(document: Mapping[str, Any], source: str) -> str:
    made = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    hashes = " · ".join(f"{noun} {document[noun]['name']} {document[noun]['hash'][:12]}"
                        for noun in ("gpu", "stack", "model", "trace"))
    return f"{source} · {made} · {hashes}"


def _cards(document: Mapping[str, Any], mine: str) -> Iterator[tuple[str, str, str]]:
    figures, plain = document["schedules"][mine], plain_key(document)
    rival = document["schedules"].get(plain, figures)
    tokens, others = max(1, figures["committed_tokens"]), max(1, rival["committed_tokens"])
    speedup = document["gain"]["speedup"]
    found = document["intervals"].get("gain.speedup")
    if speedup is not None and mine not in (plain, "autoregressive"):
        range_ = f"{times(found['low'])} to {times(found['high'])} (90 %)" if found else ""
        yield times(speedup), "gain", range_
    yield us(figures["time_per_token_us"]), "per token", f"plain {us(rival['time_per_token_us'])}"
    yield (short(figures["passes"] / tokens), "passes a token", f"plain {short(rival['passes'] / others)}")
    yield (short(figures["row_passes"] / max(1, figures["passes"])), "tokens in flight",
           f"{figures['squashed_tokens']:,} discarded")
    hbm, other = (sum(f["bytes_per_token"]["hbm"].values()) for f in (figures, rival))
    yield f"{short(hbm / 1e6)} MB", "from HBM a token", f"plain {short(other / 1e6)} MB"
    yield short(figures["kernels_per_token"]), "kernels a token", f"plain {short(rival['kernels_per_token'])}"


def _sections(document: Mapping[str, Any], mine: str) -> Iterator[Section]:
    timeline, plain = document.get("timeline"), plain_key(document)
    schedules = document["schedules"]
    if any(document["gain_over"].values()):
        yield Section("gain", "What it gains", gain_plot(document),
                      "Dot: how many times faster than plain decoding of that model, under the same control and "
                      "launch. Bar: the 90 % range of where reality may lie. Left of the line speculation costs time.")
    present = [bound for bound in BOUNDS if any(f["time_by_bound_us"][bound] for f in schedules.values())]
    bounds = legend(BOUND_NAMES, "b-", present)
    yield Section("time", "Where the time of a token goes", bounds + time_bars(document),
                  "Every moment of decoding is given to exactly one thing it waited for, so the parts add up." + (
                      " This is the GPU's time a token: with several sequences at a time one user waits longer."
                      if document["batch"] > 1 else ""))
    if plain is not None and plain != mine and mine in schedules and mine != "autoregressive":
        yield Section("waterfall", f"From {run_name(plain, document)} to {mine}",
                      waterfall(document, mine, plain), _verdict(document, mine, plain))
    if timeline is not None and timeline["rows"]:
        yield Section("pipeline", "Tokens in the pipeline", Markup('<div id="pipeline-plot" class="pipeline"></div>'),
                      "A row is a position of the text, a column is a pass: one read of the weights serves all tokens "
                      "in it. Shade and number are the repetition; a ring marks the commit; hatched tokens were "
                      "discarded. Point at a cell for its story; drag the strip below to move through the text.")
        yield Section("rhythm", "How many tokens share a pass, and how evenly they come",
                      Markup('<div class="pair"><div>{}</div><div>{}</div></div>').format(
                          rows_histogram(schedules[mine]), gap_histogram(timeline)))
    yield from _kernel_sections(document, mine)
    yield Section("bytes", "Bytes of a token", legend(TRAFFIC_NAMES, "t-", TRAFFIC) + traffic_bars(document),
                  "Above what is asked of the L2, below what of it comes from the HBM: the difference is what the "
                  "cache holds between passes.")
    if timeline is not None and timeline.get("occurrence_resident"):
        capacity = document["inputs"]["gpu"]["l2"]["capacity_bytes"]
        picture, owners = residency(timeline, capacity["value"])
        names = {str(number): owner for number, owner in enumerate(owners)}
        yield Section("l2", "What the L2 holds", legend(names, "o-", list(names)) + picture,
                      "Bytes that a read would find there behind each pass, by what they belong to.")
    yield Section("inputs", "What went in", _inputs(document),
                  "Every number with its kind: measured and datasheet numbers were read somewhere that is named; "
                  "assumed ones are the first to doubt. The same list: speedsim show gpu, stack, model.")


def _verdict(document: Mapping[str, Any], mine: str, plain: str) -> str:
    after, before = (per_token(document["schedules"][key]) for key in (mine, plain))
    change = {bound: after[bound] - before[bound] for bound in BOUNDS}
    least, most = min(change, key=lambda b: change[b]), max(change, key=lambda b: change[b])
    said = []
    if change[least] < 0:
        said.append(f"Most is saved on {BOUND_NAMES[least]} ({us(-change[least])} a token)")
    if change[most] > 0:
        said.append(f"most is paid in {BOUND_NAMES[most]} ({us(change[most])})")
    return ", ".join(said) + ". Hatched bars are costs." if said else ""


def _kernel_sections(document: Mapping[str, Any], mine: str) -> Iterator[Section]:
    kernels = document.get("kernels", {})
    if not kernels.get(mine):
        return
    tokens = max(1, document["schedules"][mine]["committed_tokens"])
    own = {bound for total in kernels[mine].values() for bound in total["time_by_bound_us"]}
    bounds = legend(BOUND_NAMES, "b-", [bound for bound in BOUNDS if bound in own])
    yield Section("kernels", f"The kernels of {mine}", bounds + kernel_bars(kernels[mine], tokens),
                  "All layers and passes together, the gaps between kernels apart.")
    yield Section("roofline", "Every kernel under the roofs", bounds + roofline(document, mine),
                  "Area is time, colour is what the kernel waits for most. Kernels far below every roof are bound by "
                  "their own latency: neither more bandwidth nor more arithmetic would help them.")


def _inputs(document: Mapping[str, Any]) -> Markup:
    kinds = by_kind(document["inputs"])
    total = sum(count for _, count in kinds) or 1
    strip = Markup("").join(
        Markup('<span class="k-{0}" style="flex:{1}" data-t="{1} of {2} numbers are {0}"></span>').format(
            kind, count, total)
        for kind, count in kinds)
    names = Markup("").join(Markup('<span><i class="k-{0}"></i>{0} {1}</span>').format(kind, count)
                            for kind, count in kinds)
    tables = Markup("").join(_table(noun, described) for noun, described in document["inputs"].items())
    return Markup('<div class="kinds">{}</div><p class="legend">{}</p>{}').format(strip, names, tables)


def _table(noun: str, described: Mapping[str, Any]) -> Markup:
    rows = Markup("").join(
        Markup('<tr><td class="key">{}</td><td>{}</td><td>{}</td><td class="source">{}</td></tr>').format(
            number.key, number.shown,
            Markup('<span class="kind k-{0}">{0}</span>').format(number.kind) if number.kind else "", number.source)
        for number in numbers(described))
    return Markup("<details><summary>{}: {}</summary><div class='wide'><table><tbody>{}</tbody></table></div></details>"
                  ).format(noun, described.get("title", described.get("name", "")), rows)
