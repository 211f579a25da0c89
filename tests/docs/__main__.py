"""`python -m tests.docs`: which commands of the documents are run, and why the others are not."""

import sys

from tests.docs.blocks import everything, table

sys.stdout.write(table(everything()) + "\n")
