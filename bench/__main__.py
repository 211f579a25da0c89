"""`python -m bench [accept] [history] [leave] [lists]`: run the benchmarks, print ratios first."""

import argparse
import os
import platform

from bench import accept, history, leave, lists

BENCHMARKS = {
    "accept": ("Durable accept, 64 connections, against a bare ASGI application", accept.run),
    "history": ("A day of lists: what it takes to keep, how fast it is read", history.run),
    "leave": ("Accepted to leaving for an idle destination", leave.run),
    "lists": ("Reading a page of Finviz, and the event loop meanwhile", lists.run),
}


def main() -> None:
    """Run what was named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="default: all")
    names = parser.parse_args().names or list(BENCHMARKS)
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before")
    for name in names:
        title, run = BENCHMARKS[name]
        print(f"{name}: {title}")
        run()


if __name__ == "__main__":
    main()
