"""Options of `run.py --demo`, read by Python alone."""

import argparse
from dataclasses import dataclass

from demo.defaults import SCENARIOS, SEED, SPEED
from launcher.terminal import Refusal

SLOWEST, FASTEST = 1, 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asked of the demo. ``ends``: it stops when its scenario is over."""

    speed: float = SPEED
    seed: int = SEED
    scenario: str | None = None
    fresh: bool = False
    ends: bool = False
    as_json: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that go with --demo alone."""
    demo = parser.add_argument_group("with --demo")
    demo.add_argument(
        "--speed",
        type=float,
        metavar="N",
        help=f"the market's time goes N times as fast as ours (1 to {FASTEST}, default {SPEED:g})",
    )
    demo.add_argument(
        "--scenario", choices=SCENARIOS, help="one story with a known end, instead of a whole day"
    )
    demo.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"another market: the same number is the same one (default {SEED})",
    )
    demo.add_argument("--fresh", action="store_true", help="forget the data of demos before")
    demo.add_argument(
        "--exit",
        action="store_true",
        help="stop after the scenario: exit code 0 if it ended as it should, else 1",
    )
    demo.add_argument("--json", action="store_true", help="with --exit: print the end as JSON")


def wishes_of(options: argparse.Namespace) -> Wishes:
    """Raises Refusal for what does not go together."""
    given = [name for name in ("speed", "scenario", "seed") if getattr(options, name) is not None]
    given += [name for name in ("fresh", "exit", "json") if getattr(options, name)]
    if given and not options.demo:
        raise Refusal(f"--{given[0]}: goes with --demo", 2)
    speed = SPEED if options.speed is None else options.speed
    if not SLOWEST <= speed <= FASTEST:
        raise Refusal(f"--speed: should be from {SLOWEST} to {FASTEST}", 2)
    if options.exit and not options.scenario:
        raise Refusal("--exit: goes with --scenario, because a day has no end", 2)
    if options.json and not options.exit:
        raise Refusal("--json: goes with --exit", 2)
    return Wishes(
        speed=speed,
        seed=SEED if options.seed is None else options.seed,
        scenario=options.scenario,
        fresh=options.fresh,
        ends=options.exit,
        as_json=options.json,
    )
