"""A cell of a CSV file that no spreadsheet takes for a formula, and back again."""

import re

# OWASP, "CSV Injection": the characters that make a cell a formula, the wide ones included. A cell
# that is one behind apostrophes gets another, so that what we wrote can be read back exactly.
_FORMULA = re.compile("'*[=+\\-@\0\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MADE_SAFE = re.compile("'+[=+\\-@\0\t\r\n\uff1d\uff0b\uff0d\uff20]")


def safe(cell: str) -> str:
    """The cell as it may stand in a file: one that would be a formula begins with an apostrophe."""
    return "'" + cell if _FORMULA.match(cell) else cell


def plain(cell: str) -> str:
    """What `safe` was given."""
    return cell[1:] if _MADE_SAFE.match(cell) else cell
