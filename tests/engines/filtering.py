"""A made-up Finviz that knows one filter: what can match nothing."""

from collections.abc import Mapping

from demo.finviz import FAULTS, MadeUpFinviz, Reply


class FilteringFinviz(MadeUpFinviz):
    """Answers "nothing matches" to the greatest companies below one dollar."""

    def reply(self, path: str, asked: Mapping[str, str]) -> Reply:
        truth = super().reply(path, asked)
        impossible = asked.get("f") == "cap_mega,sh_price_u1"
        return FAULTS["empty"] if impossible and truth.status == 200 else truth
