"""What devices send each other in one training step of ``jrnn train characters``, from the program.

``python -m benchmarks.communication`` compiles the step for eight CPU devices, which needs no eight
cores and runs nothing, and adds up the results of its collective operations, each as often as its
loop runs it.
"""

import collections
import math
import os
import re

KINDS = "all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"


def volumes(program: str) -> dict[str, int]:
    """Bytes that each kind of collective yields on one device, for a compiled program's text."""
    found: collections.Counter[str] = collections.Counter()
    lines, entry = _computations(program)

    def add(name: str, times: int) -> None:
        for line in lines[name]:
            if match := re.search(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(", line):
                found[match[2]] += times * _bytes(match[1])
            if match := re.search(r"while\(.*body=%?([\w.\-]+)", line):
                trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                assert trips, line
                add(match[1], times * int(trips[1]))
            if match := re.search(r" call\(.*to_apply=%?([\w.\-]+)", line):
                add(match[1], times)

    add(entry, 1)
    return dict(found)


def _computations(program: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation by name, and the name of the one that starts."""
    lines: dict[str, list[str]] = {}
    name = entry = ""
    for line in program.splitlines():
        if match := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = match[2]
            lines[name] = []
            entry = name if match[1] else entry
        elif name:
            lines[name].append(line)
    return lines, entry


def _bytes(types: str) -> int:
    """Bytes of an array's type or of a tuple's, all of 32 bits."""
    shapes = re.findall(r"[fsu]32\[([\d,]*)\]", types)
    return sum(4 * math.prod(map(int, shape.split(","))) if shape else 4 for shape in shapes)


def main() -> None:
    """Prints a table, a row for each way to lay the devices."""
    os.environ["JAX_PLATFORMS"], os.environ["JAX_NUM_CPU_DEVICES"] = "cpu", "8"
    import jax

    from jrnn.examples.characters import Characters
    from jrnn.examples.devices import DATA, make_mesh, place
    from jrnn.examples.program import compile_task

    for units in (128, 1024):
        task = Characters(units=units)
        print(f"\n{units} units: KiB for each device and step\n")
        print(f"| data x hidden | {' | '.join(KINDS)} |\n|---|{'---:|' * len(KINDS)}")
        for hidden in (1, 2, 4, 8):
            mesh = make_mesh(task, hidden)
            with jax.set_mesh(mesh):
                program = compile_task(task, 0, mesh)
                batch = place(task.batch(0, 1), mesh, DATA)
                text = program.step.lower(program.abstract, batch).compile().as_text()
            sent = volumes(text)
            cells = [f"{sent.get(kind, 0) / 1024:.0f}" for kind in KINDS]
            print(f"| {8 // hidden} x {hidden} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
