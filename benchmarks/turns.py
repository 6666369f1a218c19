"""Contenders in one process, who take turns."""

import time


def in_turns(steps: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each of `{name: step}` in each of some rounds, after a round that does not count."""
    times = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: found[1:] for name, found in times.items()}
