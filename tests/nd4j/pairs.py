"""Few combinations of choices in which every two choices meet."""

import itertools
import random


def pairs_of(chosen):
    return set(itertools.combinations(sorted(chosen.items()), 2))


def every_pair(factors):
    """Dicts of one value for each factor: any two values of two factors occur in one of them."""
    draw = random.Random(0)
    places = {name: range(len(values)) for name, values in factors.items()}
    missing = set()
    for one, other in itertools.combinations(sorted(factors), 2):
        pairs = itertools.product(places[one], places[other])
        missing |= {((one, k), (other, m)) for k, m in pairs}

    def completed(pair):
        return {**{name: draw.choice(places[name]) for name in sorted(places)}, **dict(pair)}

    combinations = []
    while missing:
        candidates = [completed(min(missing)) for _ in range(30)]
        best = max(candidates, key=lambda chosen: len(pairs_of(chosen) & missing))
        missing -= pairs_of(best)
        combinations.append({name: values[best[name]] for name, values in factors.items()})
    return combinations
