"""Logs of speculative decoding that others write, as traces of kind `steps`.

    vllm        responses with metrics.speculative_decoding, one JSON object a line, or one for the file
    aiperf      profile_export.jsonl: a spec_decode_acceptance record a request
    specbench   answers with choices[].accept_lengths, one number a step
    eagle       answers with choices[].idxs and new_tokens: how many steps and tokens, no step by itself
    sglang      responses with meta_info.spec_verify_ct and, in newer versions, a histogram

A log that lists its steps is taken as it is. A histogram has no order: its steps are drawn in a seeded order, which
changes no mean. Where a log has only a mean, its steps are imputed, if asked: each next token right with the one rate
that gives this mean. Tokens that no step of the log accounts for become steps that proposed nothing, at the end.
The names of fields are those of vLLM 0.32, AIPerf 0.13, Spec-Bench, EAGLE and SGLang 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .files import DECODER, LIMIT_BYTES, BadJsonError, TraceError, near, one_line
from .statistics import draws
from .steps import StepSequence, StepTrace

ASSUMED_FIRST = 64
"""Position of the first step where a log does not tell the prompt's length."""

Entry = dict[str, Any]


class Steps(NamedTuple):
    """What a log says of one sequence."""

    accepted: list[int]
    """Without the bonus token; for a histogram in rising order."""
    drafted: list[int]
    order: str
    """recorded, drawn (from a histogram) or imputed (from a mean)."""
    prompt: str = ""
    first: int | None = None
    tokens: int | None = None
    """Tokens of the answer, where the log tells."""
    counted: str = "accepted"
    """What the log's own numbers count: accepted, or committed (with the bonus token)."""
    draft: int | None = None
    """Tokens proposed a step at most, where the log tells."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reader adds to a log."""

    draft: int | None = None
    """Tokens proposed a step, where the log does not tell."""
    model: str | None = None
    impute: bool = False
    seed: int = 0


def import_log(path: str | Path, form: str | None = None, asked: Asked | None = None) -> StepTrace:
    """The log in a file; without `form` its entries tell whose it is. TraceError where it cannot be replayed."""
    path, asked = Path(path), asked or Asked()
    entries = _entries(path)
    form = form or _form_of(path, entries[0])
    if form not in FORMS:
        raise TraceError(f"--form {form}: is none of {', '.join(FORMS)}{near(form, FORMS)}")
    read = FORMS[form].read
    found = [steps for number, entry in enumerate(entries, 1) for steps in _read(read, entry, asked, path, number)]
    if not found:
        raise TraceError(f"{path}: no request of {form} with a verification in it")
    if not asked.impute and any(s.order == "imputed" for s in found):
        raise TraceError(f"{path}: {form} tells the mean only: --impute draws steps of this mean, labelled imputed")
    if len({s.counted for s in found}) > 1:
        raise TraceError(f"{path}: some requests count the bonus token and some do not")
    longest, logged = max(max(s.drafted) for s in found), [s.draft for s in found if s.draft is not None]
    draft = asked.draft or max(logged, default=longest)
    if draft < longest:
        raise TraceError(f"{path}: --draft {draft}: a step of the log has {longest}")
    orders = sorted({s.order for s in found})
    source = {
        "kind": "imported", "from": form, "order": "+".join(orders), "requests": len(entries),
        "draft_tokens": "as stated" if asked.draft else "as logged" if logged else "the most that was accepted",
        "prompt_lengths": "as logged" if all(s.first is not None for s in found) else f"assumed {ASSUMED_FIRST}",
        "tokens_outside_steps": sum(_outside(s) for s in found),
    }
    sequences = tuple(_sequence(number, steps, asked.seed) for number, steps in enumerate(found))
    return StepTrace(path.stem, asked.model or _model(entries[0]) or "unknown", max(1, draft), found[0].counted,
                     source, sequences)


def _entries(path: Path) -> list[Entry]:
    """JSON lines, or one JSON document: an object, or a list of them."""
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise TraceError(f"{path}: {path.stat().st_size} bytes, more than the limit of {LIMIT_BYTES}")
        text = path.read_bytes().decode("utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            entries = [DECODER.decode(line) for line in lines]
        except ValueError:
            if not lines or lines[0].strip() not in ("{", "["):
                raise
            whole = DECODER.decode(text)
            entries = whole if type(whole) is list else [whole]
    except (OSError, ValueError, BadJsonError, RecursionError) as error:
        raise TraceError(f"{path}: neither JSON lines nor JSON: {one_line(error)}") from error
    if not entries or not all(type(entry) is dict for entry in entries):
        raise TraceError(f"{path}: a log is an object a line")
    return entries


def _form_of(path: Path, entry: Entry) -> str:
    for name, form in FORMS.items():
        if form.fits(entry):
            return name
    raise TraceError(f"{path}: keys {', '.join(sorted(map(str, entry))[:8])}: no log that is known; "
                     f"known: {', '.join(FORMS)}")


def _read(read: Callable[[Entry, Asked], Iterator[Steps]], entry: Entry, asked: Asked, path: Path, number: int
          ) -> list[Steps]:
    """A request's sequences that have steps; a field that is missing or of another kind is refused by its place."""
    try:
        return [steps for steps in read(entry, asked) if steps.accepted]
    except TraceError as error:
        raise TraceError(f"{path}: request {number}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else one_line(error)
        raise TraceError(f"{path}: request {number}: {said}") from None


def _outside(steps: Steps) -> int:
    """Tokens of the answer that no step of the log committed; the first is the prefill's."""
    if steps.tokens is None:
        return 0
    return max(0, steps.tokens - 1 - sum(steps.accepted) - len(steps.accepted))


def _sequence(number: int, steps: Steps, seed: int) -> StepSequence:
    accepted, drafted = steps.accepted, steps.drafted
    if steps.order != "recorded":
        order = np.argsort(draws((seed, number), len(accepted)), kind="stable").tolist()
        accepted, drafted = [accepted[i] for i in order], [drafted[i] for i in order]
    plain = [0] * _outside(steps)
    return StepSequence(number, ASSUMED_FIRST if steps.first is None else steps.first, "length", steps.prompt,
                        tuple(drafted + plain), tuple(accepted + plain))


def _model(entry: Entry) -> str | None:
    for key in ("model", "model_id"):
        if type(entry.get(key)) is str and entry[key].strip():
            return str(entry[key])
    return None


def _numbers(values: Any, what: str) -> list[int]:
    if type(values) is not list or not all(type(n) is int and n >= 0 for n in values):
        raise TraceError(f"{what}: no list of whole numbers")
    return values


def _unrolled(histogram: dict[int, int]) -> list[int]:
    """A step for each count of a histogram {accepted: steps}."""
    return [accepted for accepted, steps in sorted(histogram.items()) for _ in range(steps)]


def _histogram(values: Any, what: str) -> dict[int, int]:
    """{accepted: steps} from a dense list or from an object with numbers as keys."""
    if type(values) is dict:
        return {int(key): count for key, count in zip(values, _numbers(list(values.values()), what), strict=True)}
    return dict(enumerate(_numbers(values, what)))


def _vllm(entry: Entry, asked: Asked) -> Iterator[Steps]:
    said = (entry.get("metrics") or {}).get("speculative_decoding")
    if said is None:
        return
    usage = entry.get("usage") or {}
    drafts = said["num_spec_tokens"]
    first, tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if "per_step_accepted" in said:
        yield Steps(_numbers(said["per_step_accepted"], "per_step_accepted"),
                    _numbers(said["per_step_drafted"], "per_step_drafted"), "recorded", "", first, tokens,
                    draft=drafts)
        return
    by_length = said.get("acceptance_histogram_by_draft_length") or {str(drafts): said["acceptance_histogram"]}
    pairs = [(a, int(k)) for k, counts in sorted(by_length.items())
             for a in _unrolled(_histogram(counts, "acceptance_histogram"))]
    yield Steps([a for a, _ in pairs], [k for _, k in pairs], "drawn", "", first, tokens, draft=drafts)


def _aiperf(entry: Entry, asked: Asked) -> Iterator[Steps]:
    said = entry.get("spec_decode_acceptance")
    if said is None:
        return
    accepted = _unrolled(_histogram(said["acceptance_histogram"], "acceptance_histogram"))
    draft = asked.draft or said.get("num_spec_tokens") or max(accepted, default=0)
    metrics = entry.get("metrics") or {}
    told = {key: metrics[key]["value"] for key in ("input_sequence_length", "output_sequence_length")
            if type(metrics.get(key)) is dict and type(metrics[key].get("value")) in (int, float)}
    first, tokens = (int(told[key]) if key in told else None for key in
                     ("input_sequence_length", "output_sequence_length"))
    yield Steps(accepted, [draft] * len(accepted), "drawn", "", first, tokens, draft=said.get("num_spec_tokens"))


def _specbench(entry: Entry, asked: Asked) -> Iterator[Steps]:
    for choice in entry["choices"]:
        logged = _numbers(choice["accept_lengths"], "accept_lengths")
        tokens = sum(_numbers(choice["new_tokens"], "new_tokens"))
        bonus = _counts_the_bonus(logged, tokens)
        accepted = [n - 1 for n in logged] if bonus else logged
        draft = asked.draft or max(accepted, default=0)
        # The drafts of a turn's last step may be cut off by the length limit, so tokens are not compared further.
        yield Steps(accepted, [max(draft, a) for a in accepted], "recorded", str(entry.get("category", "")),
                    counted="committed" if bonus else "accepted")


def _counts_the_bonus(logged: list[int], tokens: int) -> bool:
    """Whether accept_lengths hold the bonus token: the answer's own number of tokens tells."""
    with_bonus, without = abs(sum(logged) - tokens), abs(sum(logged) + len(logged) - tokens)
    if min(logged, default=1) < 1:
        return False
    if logged and 2 * abs(with_bonus - without) < len(logged):
        raise TraceError(f"accept_lengths sum to {sum(logged)} over {len(logged)} steps, new_tokens to {tokens}: "
                         "neither with nor without the bonus token")
    return with_bonus <= without


def _eagle(entry: Entry, asked: Asked) -> Iterator[Steps]:
    if asked.draft is None:
        raise TraceError("eagle logs no step by itself: --draft N says how many tokens deep its tree proposes")
    for choice in entry["choices"]:
        turns = zip(_numbers(choice["idxs"], "idxs"), _numbers(choice["new_tokens"], "new_tokens"), strict=True)
        for index, tokens in turns:
            steps = index + 1  # the log holds the last step's index, counted from 0
            yield _of_mean(tokens / steps, steps, asked.draft, str(entry.get("category", "")), asked.seed)


def _sglang(entry: Entry, asked: Asked) -> Iterator[Steps]:
    said = entry["meta_info"]
    steps, tokens, first = said["spec_verify_ct"], said["completion_tokens"], said.get("prompt_tokens")
    counts = said.get("spec_accept_histogram", said.get("spec_correct_drafts_histogram"))
    proposed = said.get("spec_draft_token_num")
    draft = asked.draft or (round(proposed / steps) if proposed and steps else None)
    if counts is not None:
        accepted = _unrolled(_histogram(counts, "spec_accept_histogram"))
        longest = max(draft or 0, *accepted, 0)
        yield Steps(accepted, [longest] * len(accepted), "drawn", "", first, tokens, draft=draft)
        return
    if draft is None:
        raise TraceError("spec_draft_token_num is missing: --draft N says how many tokens were proposed a step")
    if steps:  # the first token is the prefill's
        yield _of_mean((tokens - 1) / steps, steps, draft, "", asked.seed, first)


def _of_mean(length: float, steps: int, draft: int, prompt: str, seed: int, first: int | None = None) -> Steps:
    """Steps of one rate of being right whose mean is `length` tokens a step; their sum is the log's, exactly."""
    wanted = min(max(0, round((length - 1) * steps)), steps * draft)
    low, high = 0.0, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        low, high = (rate, high) if sum(rate**i for i in range(1, draft + 1)) * steps < wanted else (low, rate)
    levels = np.array([0.0, *(high**i for i in range(1, draft + 1))])
    drawn = (draws((seed, steps * 7919 + wanted), steps) >> np.uint64(11)) * 2.0**-53
    accepted = (drawn[:, None] < levels[1:]).sum(axis=1)
    order = np.argsort(drawn, kind="stable")
    while (off := wanted - int(accepted.sum())) != 0:  # the draw's own error, spread over the steps nearest to it
        room = order[(accepted[order] < draft) if off > 0 else (accepted[order] > 0)][:abs(off)]
        accepted[room] += 1 if off > 0 else -1
    return Steps(accepted.tolist(), [draft] * steps, "imputed", prompt, first, counted="committed", draft=draft)


@dataclass(frozen=True, slots=True)
class Form:
    """A log's form: whether an entry is of it, and how one is read."""

    fits: Callable[[Entry], bool]
    read: Callable[[Entry, Asked], Iterator[Steps]]


def _answers(entry: Entry, key: str) -> bool:
    choices = entry.get("choices")
    return type(choices) is list and bool(choices) and type(choices[0]) is dict and key in choices[0]


FORMS = {
    "aiperf": Form(lambda e: "spec_decode_acceptance" in e, _aiperf),
    "vllm": Form(lambda e: type(e.get("metrics")) is dict and "speculative_decoding" in e["metrics"], _vllm),
    "specbench": Form(lambda e: _answers(e, "accept_lengths"), _specbench),
    "eagle": Form(lambda e: _answers(e, "idxs"), _eagle),
    "sglang": Form(lambda e: type(e.get("meta_info")) is dict and "spec_verify_ct" in e["meta_info"], _sglang),
}
