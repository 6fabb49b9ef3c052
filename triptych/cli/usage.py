"""Mistakes in options and arguments, in one line."""

from typing import Any

# What other programs call an option of this one.
OTHER_NAMES = {
    "--lr": "--rate",
    "--learning-rate": "--rate",
    "--batch": "--batch-size",
    "--epoch": "--epochs",
    "--lr-schedule": "--schedule",
    "--model": "--network",
    "--dataset": "--data",
}
# The beginning of what typer reports of a value of a wrong type, and what is reported instead.
WRONG_TYPES = {
    "Input should be a valid integer": "is not a whole number",
    "Input should be a valid number": "is not a number",
}


def usage_message(error: Any, arguments: list[str]) -> str:
    """Return what is wrong with a command line, and where help is.

    Parameters
    ----------
    error : typer's usage error
        With ``format_message()``, and perhaps ``ctx``, ``param``, ``option_name``.
    arguments : list of str
        The command line.
    """
    message = " ".join(error.format_message().split())
    command = error.ctx.command_path if getattr(error, "ctx", None) else "triptych"
    option = getattr(error, "option_name", None)
    if option in OTHER_NAMES:
        message = f"No such option: {option}; did you mean {OTHER_NAMES[option]}?"
    for beginning, meaning in WRONG_TYPES.items():
        if beginning in message:
            message = _wrong_type(error.param, meaning, arguments)
    return f"{message.rstrip('.')}; see {command} --help"


def _wrong_type(parameter: Any, meaning: str, arguments: list[str]) -> str:
    """Return the message for a value of a wrong type, with the value."""
    option = parameter.opts[0]
    return f"{option} {_value(option, arguments)!r} {meaning}"


def _value(option: str, arguments: list[str]) -> str:
    """Return the last value of an option on a command line."""
    value = ""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            value = following
        elif argument.startswith(f"{option}="):
            value = argument.partition("=")[2]
    return value
