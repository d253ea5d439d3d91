# SPDX-License-Identifier: Apache-2.0
"""The command line: which command, and how its end becomes one line and an exit code.

0 success or stopped by a signal, 1 cannot run (configuration, node), 2 wrong command line, 130
interrupted before there was anything to stop.
Flags are `config`'s; each command is imported only when it is asked for.
"""

import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fwd import config, flags, runflags
from fwd.flags import HelpAsked, UsageError, VersionAsked
from fwd.model import FwdError
from fwd.ops.printable import printable
from fwd.supervisor.words import STORE

_USAGE = """\
usage: fwd COMMAND [FLAGS]

  run           carry this node's Pod traffic, until SIGTERM
  status        what the running agent does; --watch for a live view
  doctor        what is wrong with this node, and what to do
  ping          round trips through the overlay to another node
  drops         the last packets that were dropped, and why
  capture       packets as they pass, inner and outer, to a pcapng file
  rights        what the running agent may do
  cleanup       remove what the agent has left on this node
  install-conf  copy a file whole, for init containers
  lab           nodes as network namespaces on this machine
  bench         side by side with the kernel's vxlan device
  version       print the version

`fwd COMMAND --help` describes its flags.
"""
_INTERRUPTED = 130
"""As a shell has it: 128 and SIGINT's number."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words else ""
    if name in {"-h", "--help", "-help", "help"}:
        return _finish("fwd", _help, words)
    command = _COMMANDS.get(name)
    if command is None:
        problem = f"there is no command {name!r}" if name else "a command is missing"
        print(f"fwd: {problem} (see fwd --help)", file=sys.stderr)
        return 2
    return _finish(f"fwd {name}", command, words)


def flanneld(argv: Sequence[str] | None = None) -> int:
    """`fwd run` by flannel's name, which is what flannel's manifests call."""
    return _finish("flanneld", _run, list(sys.argv[1:] if argv is None else argv))


def _finish(program: str, command: Callable[[list[str]], int], words: list[str]) -> int:
    """Runs a command; what ends it becomes one line and an exit code."""
    try:
        code, text = command(words), ""
    except UsageError as error:
        code, text = 2, f"{error} (see {program} --help)"
    except FwdError as error:
        code, text = 1, str(error)
    except OSError as error:
        code, text = (0, "") if _has_enough(error) else (1, _in_words(error))
    except KeyboardInterrupt:
        code, text = _INTERRUPTED, "interrupted"
    except SystemExit as end:  # argparse has shown its help
        code, text = int(end.code or 0), ""
    lost = _not_printed()
    if lost is not None and not isinstance(lost, BrokenPipeError):
        code, text = code or 1, f"stdout: {_in_words(lost)}"
    if text:
        print(f"{program}: {printable(text)}", file=sys.stderr)
    return code


def _not_printed() -> OSError | None:
    """Why stdout does not take what was printed; it is forgotten then."""
    try:
        print(end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter's end tries again
        return error
    return None


def _has_enough(error: OSError) -> bool:
    """Whether it is that nobody reads stdout any more, which is no failure."""
    if not isinstance(error, BrokenPipeError):
        return False
    stdout = select.poll()
    stdout.register(1, 0)
    return bool(stdout.poll(0))


def _in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _help(_: list[str]) -> int:
    print(_USAGE, end="")
    return 0


def _open_standard_streams() -> None:
    """Those that are closed: what is opened next would be one of them, and a child's with it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _run(argv: list[str]) -> int:
    _open_standard_streams()
    try:
        settings = config.run_config(argv, os.environ)
    except HelpAsked:
        print("usage: fwd run [FLAGS]   (or: flanneld [FLAGS])\n")
        print(flags.describe_flags(runflags.RUN_FLAGS), end="")
        return 0
    except VersionAsked:  # to stderr, as flannel does
        print(config.version(), file=sys.stderr)
        return 0
    from fwd.node import confining  # noqa: PLC0415 - needs the C module, which others do not

    confining.give_up_capabilities(settings)
    # The supervisor takes this process's place and runs this same command again as its child, with
    # STORE set: that one goes on below, as does who is to have no supervisor.
    if settings.supervise and STORE not in os.environ:
        program = str(Path(__file__).parent / "supervisor" / "__main__.py")
        keep = "spare" if settings.spare else "no-spare"
        words = [sys.executable, "-P", "-S", program, keep, settings.log_format, *argv]
        os.execv(words[0], words)  # noqa: S606 - its memory is not to be this program's
    from fwd import begin  # noqa: PLC0415 - as above

    begun = begin.begin(settings)
    from fwd import start  # noqa: PLC0415 - the rest, after what a crash has left forwards

    return start.main(settings, begun)


def _status(argv: list[str]) -> int:
    try:
        values, _ = flags.parse_flags(argv, config.STATUS_FLAGS, os.environ)
    except HelpAsked:
        print("usage: fwd status [FLAGS]\n")
        print(flags.describe_flags(config.STATUS_FLAGS), end="")
        return 0
    from fwd.ops.commands import status  # noqa: PLC0415 - asyncio, which `fwd version` needs not

    return status.main(**values)


def _ping(argv: list[str]) -> int:
    from fwd.ops.commands import ping  # noqa: PLC0415 - as above

    return ping.main(argv)


def _drops(argv: list[str]) -> int:
    from fwd.ops.commands import drops  # noqa: PLC0415 - as above

    return drops.main(argv)


def _capture(argv: list[str]) -> int:
    from fwd.ops.commands import capture  # noqa: PLC0415 - as above

    return capture.main(argv)


def _rights(argv: list[str]) -> int:
    from fwd.ops.commands import rights  # noqa: PLC0415 - as above

    return rights.main(argv)


def _doctor(argv: list[str]) -> int:
    from fwd.ops.doctor import command  # noqa: PLC0415 - all that the agent has, and rich

    try:
        return command.main(argv)
    except HelpAsked:
        print("usage: fwd doctor [FLAGS]   (the flags of fwd run, too: as it runs or would)\n")
        print(flags.describe_flags(command.DOCTOR_FLAGS), end="")
        return 0
    except VersionAsked:
        return _version([])


def _cleanup(argv: list[str]) -> int:
    try:
        values, _ = flags.parse_flags(argv, config.CLEANUP_FLAGS, os.environ)
    except HelpAsked:
        print("usage: fwd cleanup [FLAGS]\n")
        print(flags.describe_flags(config.CLEANUP_FLAGS), end="")
        return 0
    from fwd.node import cleanup  # noqa: PLC0415 - pyroute2

    cleaned = cleanup.clean_up(values["run_dir"], dry_run=values["dry_run"])
    print(cleanup.report(cleaned, dry_run=values["dry_run"]), end="")
    if trouble := cleanup.trouble(cleaned):
        raise FwdError(trouble)
    return 0


def _install_conf(argv: list[str]) -> int:
    from fwd.node import installconf  # noqa: PLC0415 - only here

    return installconf.main(argv)


def _lab(argv: list[str]) -> int:
    from fwd.lab import cli  # noqa: PLC0415 - rich and all of pyroute2

    return cli.main(argv)


def _bench(argv: list[str]) -> int:
    from fwd.bench import cli  # noqa: PLC0415 - the load generator, which no agent loads

    return cli.main(argv)


def _version(_: list[str]) -> int:
    print(f"fwd {config.version()}")
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "status": _status,
    "doctor": _doctor,
    "rights": _rights,
    "ping": _ping,
    "drops": _drops,
    "capture": _capture,
    "cleanup": _cleanup,
    "install-conf": _install_conf,
    "lab": _lab,
    "bench": _bench,
    "version": _version,
    "--version": _version,
    "-version": _version,
}
