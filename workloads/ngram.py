"""The bar that a trained decoder has to clear: an interpolated 5-gram with modified Kneser-Ney discounts.

    p_n(w | h) = max(c(hw) - D(c(hw)), 0) / c(h.) + (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / c(h.) * p_(n-1)(w | h')

c is the count of an n-gram at the highest order and, below it, the number of different tokens seen before it; N_k(h.)
counts the tokens that follow h with c = k; h' is h without its oldest token; D1, D2, D3+ come from the counts of counts
of each order; below order 1 stands the uniform distribution. (Kneser and Ney 1995; Chen and Goodman 1999.)

Tables are sorted arrays of n-grams packed into 64-bit integers, so 2.5 million tokens train in seconds. A token is
predicted from up to four tokens before it in the stream, also across the start of a scoring window and across the
separators between files: a decoder that starts every window without a past sees less, so the bar is on the high side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Order:
    """Everything that was counted of one order n: n-grams and their contexts (n-1 tokens), sorted."""

    grams: Ids
    shares: Floats
    """Discounted count of each n-gram / total of its context."""
    contexts: Ids
    passed_on: Floats
    """What the discounts leave of each context for the lower order."""


@dataclass(frozen=True, eq=False)
class Ngram:
    """A trained model over token ids 0 .. vocabulary-1."""

    vocabulary: int
    orders: tuple[_Order, ...]
    """Orders 1, 2, ..."""

    def probabilities(self, context: Ids) -> Floats:
        """[vocabulary]: of every token behind `context`, of which the last tokens count. They add up to one."""
        history = np.asarray(context, dtype=np.int64)[max(0, len(context) - len(self.orders) + 1):]
        rows = np.column_stack([np.tile(history, (self.vocabulary, 1)), np.arange(self.vocabulary)])
        return self._score(rows, np.full(self.vocabulary, len(history)))

    def log_probabilities(self, ids: Ids, targets: Ids) -> Floats:
        """[targets], in nats: of ids[t] behind the tokens before it, for each t of `targets`."""
        most = len(self.orders) - 1
        padded = np.concatenate([np.zeros(most, dtype=np.int64), ids])
        rows = np.stack([padded[targets + back] for back in range(most + 1)], axis=-1)
        return np.log(self._score(rows, np.minimum(targets, most)))

    def _score(self, rows: Ids, known: Ids) -> Floats:
        """Probability of the last token of each row, from at most `known` tokens before it."""
        p = np.full(len(rows), 1 / self.vocabulary)
        for n, order in enumerate(self.orders, 1):
            context = _packed(rows[:, rows.shape[1] - n:-1], self.vocabulary)
            at, seen = _find(order.contexts, context)
            seen &= known >= n - 1
            gram, counted = _find(order.grams, context * self.vocabulary + rows[:, -1])
            p = np.where(seen, np.where(counted, order.shares[gram], 0.0) + order.passed_on[at] * p, p)
            if n == rows.shape[1]:
                break
        return p


def fit(ids: Ids, vocabulary: int, order: int = 5) -> Ngram:
    """Count a stream of at least `order` token ids. Raises ValueError where n-grams do not fit 63 bits."""
    if vocabulary**order >= 2**63:
        raise ValueError(f"{order}-grams over {vocabulary} tokens do not fit 63 bits")
    if len(ids) < order or ids.min() < 0 or ids.max() >= vocabulary:
        raise ValueError(f"a stream of {order} or more ids below {vocabulary} is needed")
    orders = []
    for n in range(1, order):
        longer, _ = np.unique(_packed(sliding_window_view(ids, n + 1), vocabulary), return_counts=True)  # sorts: fast
        orders.append(_discounted(*np.unique(longer % vocabulary**n, return_counts=True), vocabulary))
    highest = np.unique(_packed(sliding_window_view(ids, order), vocabulary), return_counts=True)
    return Ngram(vocabulary, (*orders, _discounted(*highest, vocabulary)))


def loss(ngram: Ngram, ids: Ids, targets: Ids) -> float:
    """Mean loss in nats per token of ids[t], for each t of `targets`."""
    return float(-ngram.log_probabilities(ids, targets).mean())


def _packed(rows: Ids, vocabulary: int) -> Ids:
    """Each row's tokens as the digits of one integer."""
    packed = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        packed = packed * vocabulary + column
    return packed


def _find(table: Ids, wanted: Ids) -> tuple[Ids, NDArray[np.bool_]]:
    """(place in the sorted table, whether it is there) of each wanted value."""
    at = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return at, table[at] == wanted


def discounts(counts: Ids) -> Floats:
    """[4]: what is taken from counts of 0, 1, 2 and 3 or more.

    D_k = k - (k + 1) Y n_(k+1) / n_k with Y = n_1 / (n_1 + 2 n_2), n_k the n-grams of count k. Where a small corpus
    leaves an n_k without members, or the formula leaves 0 .. k, the discount is k / 2 (as common tools fall back to).
    """
    n = np.array([np.count_nonzero(counts == k) for k in range(5)])
    taken = np.zeros(4)
    for k in (1, 2, 3):
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
        formula = k - (k + 1) * y * n[k + 1] / n[k] if n[k] and n[k + 1] and y else 0.0
        taken[k] = formula if 0 < formula < k else k / 2
    return taken


def _discounted(grams: Ids, counts: Ids, vocabulary: int) -> _Order:
    taken = discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(grams // vocabulary, return_index=True)
    totals = np.add.reduceat(counts, first).astype(np.float64)
    size = np.diff(np.append(first, len(grams)))
    return _Order(grams, (counts - taken) / np.repeat(totals, size), contexts, np.add.reduceat(taken, first) / totals)
