"""One style for every command: an example in its help, --quiet, errors of one line, and what an interruption leaves."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import tqdm.std
import typer
from pydantic import ValidationError

from lnm.errors import OUT_OF_MEMORY, UserError, out_of_memory, shortened, system_reason
from lnm.settings import one_line

INTERRUPTED = 130
STOPPED = "stopped; nothing was written"


class App(typer.Typer):
    """A group of commands whose help looks like that of all others."""

    def __init__(self, help: str | None = None, completion: bool = False):
        super().__init__(help=help, no_args_is_help=True, add_completion=completion, rich_markup_mode="rich",
                         pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})

    def add(self, example: str, name: str | None = None, **kwargs: Any) -> Callable:
        """A decorator: the function becomes a command; its docstring's first sentence says what it does."""
        def put(function: Callable) -> Callable:
            paragraphs = [" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n")]
            self.command(name, help="\n\n".join(paragraphs), epilog=f"Example:  {example}", **kwargs)(function)
            return function

        return put


class _Screen:
    """What the command that runs has said about itself."""

    quiet = False
    interrupted = STOPPED


_screen = _Screen()


def _hush(quiet: bool) -> bool:
    _screen.quiet = quiet
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_hush, help="Show results, warnings and errors only.")]


def is_first() -> bool:
    """Whether this process is the only one, or the first of those that `accelerate launch` or `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """What is reported on the way, beside the results: on the error stream; with --quiet, warnings only."""
    if is_first() and (not _screen.quiet or text.startswith("warning: ")):
        print(text, file=sys.stderr, flush=True)


def if_interrupted(text: str) -> None:
    """What Ctrl-C says from here on: what is lost, and from where the same command goes on."""
    _screen.interrupted = text


def interrupted() -> NoReturn:
    """Says what `if_interrupted` was told and ends this process at once, with the processes that end with it."""
    print(f"\n{_screen.interrupted}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(INTERRUPTED)


@contextmanager
def _bars() -> Iterator[None]:
    """Progress bars, which with --quiet are not drawn: there is no other switch that reaches those of libraries, which
    say for themselves whether they are drawn."""
    draw = tqdm.std.tqdm.__init__

    def init(self, *args: Any, **kwargs: Any) -> None:
        draw(self, *args, **(kwargs | {"disable": True} if _screen.quiet else kwargs))

    tqdm.std.tqdm.__init__ = init
    try:
        yield
    finally:
        tqdm.std.tqdm.__init__ = draw


def calm() -> None:
    """Bars of weights being loaded and the libraries' advice off. Called by commands that open a checkpoint."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()


@contextmanager
def _own_warnings_only() -> Iterator[None]:
    """Warnings of our own as one line, those of libraries not at all."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def show(message, *_args, **_kwargs) -> None:
        say(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(?!(lnm|eval)\b)")
        warnings.showwarning = show
        yield


def run(app: Callable[[], Any], arguments: list[str]) -> int:
    """Run a command line; its exit status.

    0: done. 1: looked at and found wanting. 2: bad input, one line on the error stream. 130: interrupted.
    """
    _screen.quiet, _screen.interrupted = False, STOPPED
    try:
        with _own_warnings_only(), _bars():
            code = app()(arguments, prog_name="lnm", standalone_mode=False)
    except UserError as error:
        return _fail(str(error))
    except ValidationError as error:
        return _fail(one_line(error))
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] in ("lnm", "eval"):  # ours: a mistake of ours
            raise
        return _fail(f"{error.name} is not installed; this command needs an extra of latentmovies, pipeline or eval: "
                     "install it again as latentmovies[all]")
    except typer.TyperException as error:  # a usage error
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # a group's name alone: its help has been printed
            return 2
        return _fail(f"{_lower(error.format_message())} (see {context.command_path if context else 'lnm'} --help)")
    except typer.Abort:
        code = INTERRUPTED
    except BrokenPipeError:  # `lnm ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left to flush goes nowhere
        return 1
    except Exception as error:
        if not (reason := _of_the_machine(error)):
            raise
        return _fail(reason)
    finally:  # what the process does next is not quiet because this command was
        _screen.quiet = False
    if code == INTERRUPTED:
        print(f"\n{_screen.interrupted}", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _of_the_machine(error: Exception) -> str | None:
    """The line for what no check could foresee: memory, disk and files that the system refuses. None: a bug."""
    if out_of_memory(error):
        return OUT_OF_MEMORY
    reason = system_reason(error)
    file = getattr(error, "filename", None)
    if reason is None or not isinstance(error, OSError) or file is None and error.errno == errno.ENOENT:
        return None
    return f"{shortened(file)}: {reason}" if file is not None else reason


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _lower(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]
