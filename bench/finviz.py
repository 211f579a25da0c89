"""The made-up Finviz in a process of its own: `python -m bench.finviz PORT`."""

import sys

import uvicorn

from demo.finviz import MadeUpFinviz, made_up_market

if __name__ == "__main__":
    uvicorn.run(
        MadeUpFinviz(made_up_market(5, 45)),
        port=int(sys.argv[1]),
        lifespan="off",
        access_log=False,
        log_level="critical",
    )
