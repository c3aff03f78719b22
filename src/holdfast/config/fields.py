"""Reads what was said into values, key by key; says what means nothing and what Galaxy sees otherwise.

Nothing here knows pools or trees: a key of the table, a node and a spelling go in, a value comes out. A value
that is wrong is reported and left out, so that reading goes on.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.config.badges import read_badges
from holdfast.config.definitions import Definition, Said
from holdfast.config.document import FrozenMapping, Spelling
from holdfast.config.keys import ROOT, Key, yaml_places
from holdfast.config.nodes import Entry, ListNode, MapNode, Node, Spot, TextNode, describe, shorten
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.quantities import BadValue
from holdfast.config.secrets import Secret
from holdfast.config.values import Kind

EXTRA_DIR_TYPES = ("job_work", "temp")
ITEMS_MAX = 1000
PATH_CHARS_MAX = 4096
_NO_PATH = re.compile(r"[+-]?[0-9][0-9_.,]{0,20}|true|false|yes|no|on|off|null|none", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a file needs: its spelling, the folder that relative paths mean, where to report."""

    spelling: Spelling
    folder: Path
    environ: Mapping[str, str]
    problems: ProblemLog


def read_fields(definition: Definition, reading: Reading) -> None:
    """Fills `definition.fields` from what was said of it."""
    for name, said in definition.said.items():
        if not _has_effect(definition, said, reading):
            continue
        value = read_value(said, reading)
        if value is None:
            continue
        definition.fields[name] = value
        _compare_with_galaxy(definition, said, value, reading)


def read_value(said: Said, reading: Reading) -> object:
    """The value of one thing said; None when nothing was said, or nothing that can be used."""
    key, node = said.key, said.node
    kind = key.kind_under(said.place.name, reading.spelling)
    if isinstance(node, TextNode) and node.text is None:
        reading.problems.note(said.spot, "has no value, and so no effect")
        return None
    match kind.shape:
        case "structure":
            return node
        case "badges":
            return read_badges(node, said.spot, reading.problems, reading.spelling)
        case "extra_dirs":
            return _extra_dirs(node, said.spot, reading)
        case "records":
            return _records(node, key, said.spot, reading)
        case "texts":
            return _texts(node, said.spot, reading)
        case "table":
            return _table(node, said.spot, reading)
    return _scalar(said, kind, reading)


def _scalar(said: Said, kind: Kind, reading: Reading) -> object:
    node, key, spot, name = said.node, said.key, said.spot, said.place.name
    example = key.spell(reading.spelling, kind.example, name)
    if not isinstance(node, TextNode):
        reading.problems.error(spot, f"takes {kind.words}, not {describe(node)}", example)
        return None
    text = node.text or ""
    try:
        refuse_placeholder(text)
        if kind.shape == "path":
            if node.is_plain and _NO_PATH.fullmatch(text):
                raise BadValue(f"{text} is no path; a folder with just that name is written ./{text}", "/data2")
            return read_path(text, spot, reading)
        if kind.shape == "secret":
            return _secret(text, spot, reading)
        return kind.read(text)
    except BadValue as bad:
        instead = bad.instead and key.spell(reading.spelling, bad.instead, name)
        reading.problems.error(spot, bad.message, instead or example)
        return None


def refuse_placeholder(text: str) -> None:
    """`BadValue` for what a template engine should have replaced before anybody read it."""
    if "{{" in text or "{%" in text:
        message = f"{shorten(text)!r} is a template's placeholder, not a value"
        raise BadValue(message, "what the template puts there: render it first")


def read_path(text: str, spot: Spot, reading: Reading) -> str:
    """An absolute path. Relative ones mean the folder of the file that they stand in."""
    if not text.strip():
        raise BadValue("is empty", "/data2")
    if len(text) > PATH_CHARS_MAX:
        raise BadValue(f"has {len(text)} characters; {PATH_CHARS_MAX} are allowed", "/data2")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise BadValue(f"{shorten(text)!r} holds a control character", "/data2")
    if text.startswith("~"):
        raise BadValue(f"{shorten(text)!r}: ~ is not replaced here", f"/home/you{text[1:] if text[1:2] == '/' else ''}")
    if "${" in text:
        message = f"{shorten(text)!r} is taken as it stands: ${{…}} is not replaced"
        reading.problems.warn(spot, message, "the path itself")
    path = "/" + os.path.normpath(os.path.join(reading.folder, text)).lstrip("/")
    if text != text.strip() or path != path.strip():
        raise BadValue(
            f"{shorten(text)!r} begins or ends with a blank", path.strip() if text == text.strip() else text.strip()
        )
    if path == "/":
        raise BadValue("is the root of the whole file system", "/data2")
    if not os.path.isabs(text) and reading.spelling != "holdfast":
        message = f"a relative path: here it means {path}; Galaxy takes it from the folder that it was started in"
        reading.problems.note(spot, message, "an absolute path")
    return path


def _secret(text: str, spot: Spot, reading: Reading) -> Secret | None:
    secret = Secret.parse(text, reading.folder, spot)
    if secret is None:
        return None
    reference = secret.reference
    if reference is None and "${" in text:
        message = "is taken as it stands: ${…} is not replaced"
        reading.problems.warn(spot, message, "env:NAME for an environment variable")
    elif reference is None and reading.spelling == "holdfast":
        reading.problems.note(spot, "stands here in clear", "env:NAME or file:PATH")
    elif reference and reference.startswith("env:") and not reading.environ.get(reference[4:]):
        reading.problems.warn(spot, f"the environment variable {reference[4:]} is not set")
    elif reference and reference.startswith("file:") and not os.path.isfile(reference[5:]):
        reading.problems.warn(spot, f"there is no file {reference[5:]}")
    return secret


def _items(node: Node, words: str, spot: Spot, reading: Reading) -> tuple[Node, ...]:
    if not isinstance(node, ListNode):
        reading.problems.error(spot, f"takes {words}, not {describe(node)}")
        return ()
    if len(node.items) > ITEMS_MAX:
        reading.problems.error(spot, f"has {len(node.items)} items; {ITEMS_MAX} are allowed")
    return node.items[:ITEMS_MAX]


def _extra_dirs(node: Node, spot: Spot, reading: Reading) -> FrozenMapping[str] | None:
    found: dict[str, str] = {}
    for type_name, path_node in _pairs(node, spot, reading):
        if type_name in found:
            reading.problems.error(path_node.spot, f"{type_name} is given twice", "one folder for each")
            continue
        if type_name not in EXTRA_DIR_TYPES:
            guess = nearest(type_name, EXTRA_DIR_TYPES) or "job_work"
            reading.problems.warn(path_node.spot, f"nothing uses an extra folder of type {type_name[:60]!r}", guess)
        try:
            if not isinstance(path_node, TextNode) or path_node.text is None:
                raise BadValue(f"{type_name} takes a path, not {describe(path_node)}", "/data2/job_work_dir")
            refuse_placeholder(path_node.text)
            found[type_name] = read_path(path_node.text, path_node.spot, reading)
        except BadValue as bad:
            reading.problems.error(path_node.spot, bad.message, bad.instead)
    return FrozenMapping(found) if found else None


def _pairs(node: Node, spot: Spot, reading: Reading) -> list[tuple[str, Node]]:
    """(type, path) of each extra folder, from our mapping or from Galaxy's list of {type, path}."""
    if isinstance(node, MapNode):
        return [(entry.name, entry.value) for entry in node.entries]
    pairs: list[tuple[str, Node]] = []
    for item in _items(node, "job_work and temp, with a path each", spot, reading):
        entries = {entry.name: entry.value for entry in item.entries} if isinstance(item, MapNode) else {}
        type_node, path_node = entries.pop("type", None), entries.pop("path", None)
        if not isinstance(type_node, TextNode) or not type_node.text or path_node is None or entries:
            instead = (
                '<extra_dir type="job_work" path="/data2/job_work_dir"/>'
                if reading.spelling == "galaxy-xml"
                else "{type: job_work, path: /data2/job_work_dir}"
            )
            reading.problems.error(item.spot, "an extra folder has a type and a path, and nothing else", instead)
        else:
            pairs.append((type_node.text.strip(), path_node))
    return pairs


def _records(node: Node, key: Key, spot: Spot, reading: Reading) -> tuple[FrozenMapping[object], ...] | None:
    spelling: Spelling = "galaxy-yaml" if reading.spelling == "galaxy-xml" else reading.spelling
    places = yaml_places(key.records, spelling)
    records = []
    for item in _items(node, key.kind.words, spot, reading):
        entries: tuple[Entry, ...] = item.entries if isinstance(item, MapNode) else ()
        values: dict[str, object] = {each.name: each.default for each in key.records if each.default is not None}
        for entry in entries:
            place = places.get(entry.name)
            if place is None:
                reading.problems.error(entry.spot, "is not known here", ", ".join(places))
                continue
            value = read_value(Said(entry.value, place, entry.spot), reading)
            if value is not None:
                values[place.key.name] = value
        missing = [each.name for each in key.records if each.required and each.name not in values]
        if missing:
            reading.problems.error(item.spot, f"lacks {', '.join(missing)}")
        records.append(FrozenMapping(values))
    return tuple(records) or None


def _texts(node: Node, spot: Spot, reading: Reading) -> tuple[str, ...] | None:
    items = _items(node, "a list of texts", spot, reading)
    wrong = next((item for item in items if not isinstance(item, TextNode)), None)
    if wrong is not None:
        reading.problems.error(wrong.spot, f"takes a text, not {describe(wrong)}")
    return tuple(item.text.strip() for item in items if isinstance(item, TextNode) and item.text) or None


def _table(node: Node, spot: Spot, reading: Reading) -> FrozenMapping[str] | None:
    if not isinstance(node, MapNode):
        reading.problems.error(spot, f"takes a text for each name, not {describe(node)}", "{newdata: /_newdata/}")
        return None
    found: dict[str, str] = {}
    for entry in node.entries:
        if isinstance(entry.value, TextNode) and entry.value.text:
            found[entry.name] = entry.value.text.strip()
        else:
            reading.problems.error(entry.spot, f"takes a text, not {describe(entry.value)}")
    return FrozenMapping(found) if found else None


def _has_effect(definition: Definition, said: Said, reading: Reading) -> bool:
    key = said.key
    why = key.no_effect or (key.no_effect_in_yaml if reading.spelling == "galaxy-yaml" else "")
    if not why and key.effect_below is not None and definition.parent not in key.effect_below:
        place = f"below a {definition.parent} router" if definition.parent != ROOT else "at the root of the tree"
        why = f"{key.name} means nothing {place}"
    if not why:
        return True
    zero = isinstance(said.node, TextNode) and (said.node.text or "").strip() in ("0", "0.0")
    if key.name == "weight" and zero:
        message = f"has no effect: {why}, so new datasets come here too"
        reading.problems.warn(said.spot, message, "nothing here; holdfast pool set ID --state read-only does it")
    else:
        reading.problems.note(said.spot, f"has no effect: {why}")
    return False


def _compare_with_galaxy(definition: Definition, said: Said, value: object, reading: Reading) -> None:
    key = said.key
    if reading.spelling == "holdfast":
        return
    if key.galaxy_reads(reading.spelling, definition.type_name, definition.parent):
        if said.place.rank >= key.galaxy_places:
            proper = key.spell(reading.spelling, key.kind.example)
            reading.problems.note(said.spot, "Galaxy does not look at this here; Holdfast does", proper)
        return
    whose = "does not look at this here; Holdfast does" if key.galaxy else "passes over this; it is Holdfast's own"
    message = f"Galaxy {whose}"
    if key.caution and value != key.default:
        reading.problems.warn(said.spot, f"{message}. Beware: {key.caution}")
    else:
        reading.problems.note(said.spot, message)
