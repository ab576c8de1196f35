"""The command `kfbot`: every failure is one line, and the exit status says what kind it was.

Commands import what they need when they run: `kfbot --help` loads no model and no database.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer

from kfbot.errors import KfbotError

#: Exit statuses: a failure, a wrong command line, and Ctrl-C as shells count it.
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
#: typer carries click under a name of its own or uses the installed one; both have this base.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status and never raises."""
    from kfbot.cli.app import app

    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="kfbot", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more may be written to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _failed(error)


def _failed(error: BaseException) -> int:
    """Say in one line what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, _UsageError):
        return _misused(error)
    if isinstance(error, KfbotError):
        _say(str(error))
    else:
        # What a foreign error says may hold a key or a customer's words, and this may be a log.
        _say(f"unexpected {type(error).__name__} (details in {_keep(error)})")
    return FAILED


def _misused(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context is not None else "", err=True)
        return MISUSED
    path = context.command_path if context is not None else "kfbot"
    message = str(getattr(error, "format_message", error.__str__)())
    _say(f"{message.rstrip('.')}. See {path} --help.")
    return MISUSED


def _say(text: str) -> None:
    typer.echo("kfbot: " + " ".join(text.split()), err=True)


def _keep(error: BaseException) -> str:
    """Keep the traceback of what must not happen in a file that only its owner reads."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="kfbot-error-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return "no file: the temporary folder is full"
    return name
