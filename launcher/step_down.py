"""Run as a program of its own: stop being root, tie our life to the parent's, become a command."""

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65_534  # what PostgreSQL sees inside the namespace; no account of this id is needed


def main(arguments: list[str]) -> None:
    """Understand ``identity parent-pid command…``.

    ``identity`` is ``same``, ``namespace``, or ``uid:gid``. With a parent pid of 0 the command may
    outlive us. PostgreSQL refuses root: in a user namespace of its own root is somebody else, yet
    keeps its files; no account is made and no permission changed.
    """
    identity, parent, *command = arguments
    try:
        _become(identity)
        if int(parent):
            _end_with(int(parent))
        os.execv(command[0], command)  # noqa: S606  no shell is what we want
    except OSError as error:
        sys.exit(f"{command[0]} as {identity}: {error.strerror or error}")


def _become(identity: str) -> None:
    if identity == "namespace":
        _enter_namespace()
    elif identity != "same":
        uid, gid = map(int, identity.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{NOBODY} 0 1")
    (own / "gid_map").write_text(f"{NOBODY} 0 1")


def _end_with(parent: int) -> None:
    """Get SIGINT (PostgreSQL's fast shutdown) when the thread that started us ends: prctl(2).

    A change of credentials clears the setting, so this comes after `_become`.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        sys.exit("The parent has ended.")


if __name__ == "__main__":
    main(sys.argv[1:])
