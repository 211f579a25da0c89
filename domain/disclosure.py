"""Disclosure: what may be told to whoever chose the address of a request and asks how it ended."""

from domain.delivery import Answer, Outcome

FORBIDDEN = "forbidden address"
UNRESOLVED = "name not resolved"
NO_ADDRESS = "no address to send to"


def disclosed(answer: Answer) -> Answer:
    """The same for every address that was refused, whatever is behind it, or of whether it exists.

    Otherwise a test would tell which names and machines there are in networks of ours.
    """
    refused = answer.error in {FORBIDDEN, UNRESOLVED}
    return Answer(outcome=Outcome.NOT_SENT, error=NO_ADDRESS) if refused else answer
