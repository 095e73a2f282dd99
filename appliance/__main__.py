"""Command line of the appliance: run | demo | source | check | status | token | record-packets | replay. Parses arguments only; each command lives in its own module.

Modules are imported when their command is known, so that a stage starts in a fraction of a second.
"""
import argparse
import errno
import os
import select
import sys
from pathlib import Path

from appliance.errors import ApplianceError, ConfigurationError

EXIT_FAILURE, EXIT_CONFIGURATION = 1, 2
EXIT_PIPE = 141  # as a shell shows SIGPIPE


def main() -> None:
    """Runs one command. Exit status: 0 done, 1 failed while running, 2 something a person wrote cannot be used."""
    try:
        status = _command(sys.argv[1:])
        _flush()
        sys.exit(status)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"appliance: {problem}", file=sys.stderr)
        sys.exit(EXIT_CONFIGURATION)
    except ApplianceError as error:
        print(f"appliance: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    except BrokenPipeError:
        if not _reader_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end, and would complain
        sys.exit(EXIT_PIPE)
    except KeyboardInterrupt:
        sys.exit(130)


def _flush() -> None:
    """Lets a reader that has gone be heard of now. A terminal that was closed is no failure of what ran in it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def _reader_gone() -> bool:
    """Whether whoever read the output has seen enough, as `head` has."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _command(arguments: list[str]) -> int:
    # The commonest by far, and the one whose start-up time a viewer can see: a stage that the supervisor (re)starts.
    if arguments[:1] == ["stage"] and len(arguments) == 2:
        return _stage(arguments[1])
    options = _parser(arguments[0] if arguments else "").parse_args(arguments)
    return options.run(options) or 0


def _stage(name: str) -> int:
    import importlib

    from appliance.runtime import log
    from appliance.runtime.stage import open_stage

    log.start()
    # Imported before the rings are joined: a reader that attaches and then imports for a second costs its writer slots.
    module = importlib.import_module(f"appliance.{name.split('.')[0]}")
    module.run(open_stage(name))
    return 0


def _run(options: argparse.Namespace) -> None:
    import logging

    from appliance.check import check, notes, unusable
    from appliance.config import load
    from appliance.resources import Resources
    from appliance.runtime import log
    from appliance.supervisor import Supervisor
    from appliance.wanted import Wanted

    log.start()
    config = load(options.config)
    topology, waiting = check(config)
    for stream in config.streams:
        if stream.name in waiting:
            logging.getLogger(stream.name).warning("%s The stream waits.", waiting[stream.name])
        else:
            for note in notes(stream, topology):
                logging.getLogger(stream.name).warning("%s", note)
    Supervisor(Wanted(config, topology.flows, waiting), topology, Resources(config, topology), unusable).run()


def _check(options: argparse.Namespace) -> int:
    from appliance.check import run

    return run(options)


def _status(options: argparse.Namespace) -> int:
    from appliance.status import run

    return run(options)


def _token(options: argparse.Namespace) -> int:
    from appliance.tokens import run

    return run(options)


def _demo(options: argparse.Namespace) -> int:
    from appliance.demo import run

    return run(options)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="appliance", description="DICOM Real-Time Video from the operating theatre, live in plain browsers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, run) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def add_config(added: argparse.ArgumentParser) -> None:
        added.add_argument("--config", type=Path, default=Path("/etc/appliance/appliance.toml"), metavar="FILE", help="configuration (default: %(default)s)")

    add_config(add("run", "Run the appliance until SIGTERM.", _run))
    add_config(add("check", "Say everything that is wrong with a configuration; exit status 2 if anything is.", _check))
    status = add("status", "Show how the running appliance is doing.", _status)
    add_config(status)
    status.add_argument("--json", action="store_true", help="print JSON instead of a table")
    status.add_argument("--url", default="", metavar="URL", help="the appliance's metrics address, such as http://127.0.0.1:9464, in place of its configuration")
    token = add("token", "Print a bearer token for a viewer.", _token)
    add_config(token)
    token.add_argument("--role", required=True, choices=("expert", "student"), help="expert: sees who the patient is; student: does not")
    token.add_argument("--stream", required=True, metavar="NAME", help="the stream's name, or * for all")
    token.add_argument("--hours", type=float, default=12, help="how long it is good for (default: %(default)s)")
    token.add_argument("--name", default="", help="who it is for; shown in the log")
    token.add_argument("--link", action="store_true", help="print a link that opens the viewer instead")
    demo = add("demo", "Run the appliance with a synthetic theatre on loopback and print links to open.", _demo)
    demo.add_argument("--dir", type=Path, default=Path("demo"), help="folder for the demo's files (default: %(default)s)")
    demo.add_argument("--port", type=int, default=8443, help="HTTPS port (default: %(default)s, or the next free one)")
    source = commands.add_parser("source", help="Send synthetic DICOM-RTV: video and metadata, for rehearsals and tests.")
    if command == "source":
        from appliance.source import add_arguments, run

        add_arguments(source)
        source.set_defaults(run=run)
    record = commands.add_parser("record-packets", help="Write what arrives on a stream's flows to a pcapng file.")
    add_config(record)
    replay = commands.add_parser("replay", help="Send a capture (pcapng, pcap) again in its own time, on loopback or a named interface.")
    if command == "record-packets":
        from appliance.packets import record as recording

        recording.add_arguments(record)
        record.set_defaults(run=recording.run)
    if command == "replay":
        from appliance.packets import replay as replaying

        replaying.add_arguments(replay)
        replay.set_defaults(run=replaying.run)
    return parser


if __name__ == "__main__":
    main()
