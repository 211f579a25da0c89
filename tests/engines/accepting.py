"""An alert handed to the intake as a request does it."""

import asyncio

from database.journal import Entry, Receipt
from engines.relay.intake import Intake


async def accept(intake: Intake, entry: Entry) -> Receipt:
    """Its receipt, once it is on disk. Raises UnavailableError when that takes too long."""
    receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    intake.put(entry, receipt)
    return await receipt
