"""`python -m bench NAME [--quick] [--json] [--write]`: runs one bench; the last line printed is its result as JSON.

Exit code 0 when the claim holds, 1 when it does not, 2 when it could not be measured. A bench is a module of this
package with a function `run(quick: bool) -> Result`; nothing needs registering.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.public_data import PublicDataMissing
from bench.result import Result

FOLDER = Path(__file__).parent


def bench_names() -> dict[str, str]:
    """Name of each bench → the first line of its docstring, found without importing any."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def run_bench(name: str, *, quick: bool) -> Result:
    """What the bench measured; nothing is printed or stored."""
    result = importlib.import_module(f"bench.{name}").run(quick=quick)
    if not isinstance(result, Result) or result.name != name:
        raise TypeError(f"bench {name} returned {result!r}; it must return a Result of its own name")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    names = bench_names()
    listed = "\n".join(f"  {name:<14} {line}" for name, line in names.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures one claim.",
        epilog=f"benches:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=sorted(names), metavar="NAME", help="which claim, see below")
    parser.add_argument("--quick", action="store_true", help="under 50 s, fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print the JSON line and nothing else")
    parser.add_argument("--write", action="store_true", help="store the result under bench/results/")
    options = parser.parse_args(arguments)
    try:
        result = run_bench(options.name, quick=options.quick)
    except PublicDataMissing as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    line = result.as_json()
    if options.write:
        result.write(quick=options.quick)
    if not options.json:
        verdict = "holds" if result.holds else "DOES NOT HOLD"
        sys.stdout.write("".join(f"{text}\n" for text in (*result.lines, f"{verdict}: {result.target}")))
    sys.stdout.write(f"{line}\n")
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
