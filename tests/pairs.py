# SPDX-License-Identifier: Apache-2.0
"""Combinations of options in which every two values of two options meet."""

import itertools


def pairwise(options):
    """Return few dicts that take a value for each option, and hold every pair.

    Greedy: a row begins with the first pair that is missing, and each option after it
    takes the value that adds most new pairs. The same options give the same rows.
    """
    missing = {
        (a, b): None
        for one, two in itertools.combinations(options, 2)
        for a in itertools.product([one], range(len(options[one])))
        for b in itertools.product([two], range(len(options[two])))
    }
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for name in options:
            if name not in row:
                news = [
                    sum((a, b) in missing for a, b in _pairs(options, row, name, value))
                    for value in range(len(options[name]))
                ]
                row[name] = news.index(max(news))
        taken = [(name, row[name]) for name in options]
        for pair in itertools.combinations(taken, 2):
            missing.pop(pair, None)
        rows.append({name: options[name][row[name]] for name in options})
    return rows


def _pairs(options, row, name, value):
    """Yield the pairs that a value would make with those already in a row."""
    order = list(options)
    for other, taken in row.items():
        yield tuple(
            sorted([(name, value), (other, taken)], key=lambda p: order.index(p[0]))
        )
