"""A job's command: checked before anything is queued, filled with paths when the job begins.

    {input1} {input2} ...   the path of that input; {inputs} alone in an argument: all of them, one each
    {output:NAME}           where the command leaves the declared output NAME

There is no shell unless the command is one (`sh -c '...'`), so nothing needs quoting. Other braces are left
alone, except that an argument which is nothing but `{word}` is taken for a mistake; `{{word}}` stands for
`{word}` itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from holdfast.errors import InvalidKey, Malformed
from holdfast.keys import Key

COMMAND_BYTES_MAX = 256 * 1024
ARGUMENT_BYTES_MAX = 128 * 1024 - 4096  # the kernel's bound for one argument, less room for paths
INPUTS_MAX = 1000
OUTPUTS_MAX = 1000
ENVIRONMENT_MAX = 200
OWN_VARIABLES = frozenset({"HOME", "TMPDIR", "HOLDFAST_JOB_ID", "HOLDFAST_JOB_FOLDER"})

_PLACEHOLDER = re.compile(r"\{\{(\w+(?::[^{}]*)?)\}\}|(?<!\$)\{((?:input|output)[^{}\s]*)\}")
_LONE = re.compile(r"\{([A-Za-z_]\w*(?::[^{}]*)?)\}")
_INPUT = re.compile(r"input([1-9][0-9]{0,5})")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(
    command: Sequence[str], *, inputs: int, outputs: Sequence[str], environment: Mapping[str, str]
) -> None:
    """`Malformed`, with every mistake, for a command that cannot be run as it is written."""
    problems = [*_sizes(command, inputs, outputs), *_output_names(outputs), *_variables(environment)]
    for argument in command:
        problems += _placeholders(argument, inputs, outputs)
    if problems:
        raise Malformed("; ".join(_words(problem) for problem in problems))


def fill(command: Sequence[str], inputs: Sequence[str], outputs: Mapping[str, str]) -> list[str]:
    """The arguments with paths in place of placeholders. The command has passed `check`."""
    filled: list[str] = []
    for argument in command:
        if argument == "{inputs}":
            filled += inputs
        else:
            filled.append(_PLACEHOLDER.sub(lambda found: _path(found, inputs, outputs), argument))
    return filled


_Mistake = tuple[str, str, str | None]  # where, what is wrong, what to write instead


def _words(mistake: _Mistake) -> str:
    where, what, instead = mistake
    return f"{where}: {what}" + (f" (write: {instead})" if instead else "")


def _sizes(command: Sequence[str], inputs: int, outputs: Sequence[str]) -> list[_Mistake]:
    found: list[_Mistake] = []
    if not command or not command[0]:
        found.append(("command", "there is nothing to run", "a program and its arguments"))
    for argument in command:
        if "\0" in argument:
            found.append(("command", f"{argument[:40]!r} has a NUL character in it", None))
        elif not _is_text(argument):
            found.append(("command", f"{argument[:40]!r} is not valid Unicode", None))
        elif len(argument.encode()) > ARGUMENT_BYTES_MAX:
            found.append(
                ("command", f"an argument has more than {ARGUMENT_BYTES_MAX} bytes", "a script as input")
            )
    if len(json.dumps(list(command))) > COMMAND_BYTES_MAX:
        found.append(("command", f"it has more than {COMMAND_BYTES_MAX} bytes", "a script as input"))
    if inputs > INPUTS_MAX:
        found.append(("inputs", f"there are {inputs}, more than {INPUTS_MAX}", "several jobs"))
    if len(outputs) > OUTPUTS_MAX:
        found.append(("outputs", f"there are {len(outputs)}, more than {OUTPUTS_MAX}", "several jobs"))
    return found


def _output_names(outputs: Sequence[str]) -> list[_Mistake]:
    found: list[_Mistake] = []
    for name in outputs:
        wrong = _wrong_name(name)
        if wrong:
            found.append(
                ("outputs", f"{name!r} cannot be the name of an output: {wrong}", "a plain file name")
            )
        if outputs.count(name) > 1:
            found.append(("outputs", f"{name!r} is declared more than once", "each name once"))
        if name.endswith("_files") and name.removesuffix("_files") in outputs:
            found.append(("outputs", f"in {name!r} lie another output's extra files", "another name"))
    return list(dict.fromkeys(found))


def _wrong_name(name: str) -> str | None:
    if "/" in name:
        return "it has a slash in it"
    if "{" in name or "}" in name:
        return "it has a brace in it"
    try:
        Key.parse(name)
    except InvalidKey as error:
        return str(error).partition(": ")[2]
    return None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _variables(environment: Mapping[str, str]) -> list[_Mistake]:
    found: list[_Mistake] = []
    if len(environment) > ENVIRONMENT_MAX:
        found.append(("environment", f"there are more than {ENVIRONMENT_MAX} variables", None))
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            found.append(("environment", f"{name!r} cannot be a variable's name", "letters, digits and _"))
        elif name in OWN_VARIABLES:
            found.append(("environment", f"{name} is set by Holdfast for each job", "another name"))
        elif "\0" in value or not _is_text(value):
            found.append(("environment", f"the value of {name} is no text that a program can be given", None))
    return found


def _placeholders(argument: str, inputs: int, outputs: Sequence[str]) -> list[_Mistake]:
    found = [_mistake(name, inputs, outputs) for _, name in _PLACEHOLDER.findall(argument) if name]
    lone = _LONE.fullmatch(argument)
    if lone and not _PLACEHOLDER.search(argument):
        found.append(
            (argument, f"there is no placeholder {argument}", f"{{{argument}}} if these characters are meant")
        )
    return [mistake for mistake in found if mistake is not None]


def _mistake(name: str, inputs: int, outputs: Sequence[str]) -> _Mistake | None:
    where = f"{{{name}}}"
    if name == "inputs":
        return None
    number = _INPUT.fullmatch(name)
    if number:
        if int(number[1]) <= inputs:
            return None
        have = "there is only one input" if inputs == 1 else f"there are {inputs or 'no'} inputs"
        return (where, have, "one input for each placeholder")
    declared = ", ".join(outputs) or "none"
    if name.startswith("output:"):
        if name.removeprefix("output:") in outputs:
            return None
        return (where, f"there is no such output (declared: {declared})", "one output for each placeholder")
    if name.startswith("output"):
        return (where, "an output is named by its name", "{output:NAME}")
    return (where, "there is no such placeholder", "{input1}, {input2}, ... or {inputs}")


def _path(found: re.Match[str], inputs: Sequence[str], outputs: Mapping[str, str]) -> str:
    literal, name = found[1], found[2]
    if literal is not None:
        return f"{{{literal}}}"
    if name == "inputs":
        return " ".join(inputs)
    number = _INPUT.fullmatch(name)
    if number:
        return inputs[int(number[1]) - 1]
    return outputs[name.removeprefix("output:")]
