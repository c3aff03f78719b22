"""Finds a document, reads it in whichever spelling it has, and answers with the canonical tree.

`read_document` raises `ConfigError` and nothing else, with every mistake of the document and of the Galaxy
file that it names. What does not stop it (notes, warnings) stands in `HoldfastConfig.notes`. Nothing is
opened but these files: pools, buckets and databases are for `holdfast check`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from holdfast.config.definitions import Definition, walk_definitions
from holdfast.config.document import HoldfastConfig, Spelling
from holdfast.config.fields import Reading, read_fields
from holdfast.config.galaxy_notes import note_galaxy_defects
from holdfast.config.galaxy_xml import define_from_xml
from holdfast.config.galaxy_yaml import define_from_galaxy_yaml
from holdfast.config.ids import assign_ids
from holdfast.config.nodes import ListNode, MapNode, Node, Spot, describe
from holdfast.config.own_yaml import define_tree, say_document
from holdfast.config.problems import ProblemLog
from holdfast.config.sanity import check_sanity
from holdfast.config.settings import read_settings
from holdfast.config.text_source import looks_like_xml, read_text_file
from holdfast.config.tree import arrange, complete, make_tree
from holdfast.config.vocabulary_document import DEFAULT_KEYS
from holdfast.config.xml_source import read_xml
from holdfast.config.yaml_source import read_yaml
from holdfast.errors import ConfigError, Problem

DOCUMENT_NAME = "holdfast.yml"
STATE_NAME = "holdfast-state"

_OF_THE_ROOT = ("max_percent_full", "search_for_missing")
_HANDED_DOWN = tuple(key.name for key in DEFAULT_KEYS if key.name not in _OF_THE_ROOT)


def find_document(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """`--config FILE`, `$HOLDFAST_CONFIG`, `./holdfast.yml`: the first that is given, or `ConfigError`."""
    if explicit is not None:
        return explicit
    if environ.get("HOLDFAST_CONFIG"):
        return Path(environ["HOLDFAST_CONFIG"])
    if (cwd / DOCUMENT_NAME).exists():
        return Path(DOCUMENT_NAME)
    message = f"there is none in {cwd}, no --config FILE was given, and HOLDFAST_CONFIG is not set"
    raise ConfigError([Problem(DOCUMENT_NAME, None, "", message, "holdfast init, which makes one")])


def resolve_state_dir(explicit: Path | None, environ: Mapping[str, str], said: str | None, cwd: Path) -> Path:
    """`--state DIR`, `$HOLDFAST_STATE`, `state_dir`, `./holdfast-state`: the first that is given."""
    if explicit is None and environ.get("HOLDFAST_STATE"):
        explicit = Path(environ["HOLDFAST_STATE"])
    if explicit is None and said is not None:
        return Path(said)
    return Path(os.path.normpath(cwd / (explicit or STATE_NAME)))


def read_document(
    path: Path | str,
    *,
    environ: Mapping[str, str],
    state: Path | None = None,
    cwd: Path | None = None,
) -> HoldfastConfig:
    """The document at `path`: ours, or Galaxy's XML or YAML used directly.

    Args:
        path: the file, relative to `cwd`. Its folder is what relative paths in it mean.
        environ: looked at for HOLDFAST_STATE and for the variables of `env:` references.
        state: the state directory that the command line asks for, before all others.
        cwd: what `path`, `state`, HOLDFAST_STATE and the default state directory are relative to.

    Raises:
        ConfigError: with every error and warning at once.
    """
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    problems = ProblemLog()
    found = _read_file(cwd / path, str(path), environ, problems)
    if found is not None and found.spelling == "holdfast":
        found = _with_tree(found)
    if found is None or found.tree is None:
        if not problems.wrong:
            message = "names no pools"
            problems.error(Spot(str(path), 1), message, "pools: …, or object_store: object_store_conf.xml")
        if found is not None:
            read_settings(found.document, found.reading.folder, (), problems)
        raise ConfigError(problems.errors_and_warnings())
    said = cast("str | None", found.document.fields.get("state_dir"))
    return _judge(found, found.tree, resolve_state_dir(state, environ, said, cwd), problems)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file holds: the root's own keys, the tree, and how to read the values of each."""

    spelling: Spelling
    document: Definition
    reading: Reading
    tree: Definition | None
    tree_reading: Reading


def _read_file(path: Path, shown: str, environ: Mapping[str, str], problems: ProblemLog) -> _Found | None:
    text = read_text_file(path, shown, problems)
    if text is None:
        return None
    nothing = Definition("document", "holdfast", Spot(shown, 1))
    if looks_like_xml(shown, text):
        element = read_xml(text, shown, problems)
        reading = Reading("galaxy-xml", path.parent, environ, problems)
        tree = define_from_xml(element, problems) if element else None
        return _Found("galaxy-xml", nothing, reading, tree, reading)
    node = read_yaml(text, shown, problems)
    if not isinstance(node, MapNode):
        if not problems.wrong:
            problems.error(Spot(shown, node.spot.line if node else 1), *_not_a_document(node))
        return None
    if _is_galaxy_yaml(node):
        reading = Reading("galaxy-yaml", path.parent, environ, problems)
        return _Found("galaxy-yaml", nothing, reading, define_from_galaxy_yaml(node, problems), reading)
    if not _is_ours(node, problems):
        return None
    document = say_document(node, problems)
    reading = Reading("holdfast", path.parent, environ, problems)
    return _Found("holdfast", document, reading, None, reading)


def _is_galaxy_yaml(node: MapNode) -> bool:
    return any(node.entry(name) is not None for name in ("type", "backends"))


def _is_ours(node: MapNode, problems: ProblemLog) -> bool:
    """Whether it can be our own document; other files of Galaxy's are named for what they are."""
    if node.entry("preferences"):
        message = "this is a user_preferences_extra_conf.yml"
        problems.error(node.spot, message, "user_preferences_extra: FILE in a holdfast.yml")
    elif node.entry("galaxy") or node.entry("object_store_config"):
        message = "this is a galaxy.yml; its object store stands in the file that object_store_config_file names"
        problems.error(node.spot, message, "object_store: FILE in a holdfast.yml, or that file itself")
    return not problems.wrong


def _not_a_document(node: Node | None) -> tuple[str, str]:
    if isinstance(node, ListNode):
        return "is a list, as file_sources_conf.yml is", "file_sources: FILE in a holdfast.yml"
    return f"is no document: it holds {describe(node) if node else 'nothing'}", "pools: … and placement: …"


def _with_tree(found: _Found) -> _Found:
    """Our own document with its tree: from the Galaxy file that it names, or from its own pools."""
    document, reading, problems = found.document, found.reading, found.reading.problems
    read_fields(document, reading)
    included = document.fields.get("object_store")
    if not isinstance(included, str):
        return replace(found, tree=None if "object_store" in document.said else define_tree(document, problems))
    spot = document.key_spot("object_store")
    if "pools" in document.said or "placement" in document.said:
        message = "the pools stand here and in a file of their own"
        problems.error(spot, message, "object_store, or pools and placement")
    name = str(Path(document.spot.file).parent / (document.said_text("object_store") or included).strip())
    if not os.path.exists(included):
        problems.error(spot, f"there is no file {name}", "object_store: the name of an object_store_conf.xml or .yml")
        return found
    inner = _read_file(Path(included), name, reading.environ, problems)
    if inner is None:
        return found
    if inner.spelling == "holdfast":
        problems.error(spot, f"{name} is no Galaxy file", "the name of an object_store_conf.xml or .yml")
    return replace(found, tree=inner.tree, tree_reading=inner.tree_reading)


def _judge(found: _Found, tree: Definition, state_dir: Path, problems: ProblemLog) -> HoldfastConfig:
    document = found.document
    for definition in walk_definitions(tree):
        read_fields(definition, found.tree_reading)
    complete(tree, _defaults(document, problems), problems)
    assign_ids(tree, problems)
    _hand_to_root(document, tree, problems)
    arrange(tree, problems)
    note_galaxy_defects(tree, problems)
    check_sanity(tree, str(state_dir), document.key_spot("state_dir"), problems)
    pool_ids = [each.object_store_id for each in walk_definitions(tree) if not each.is_router]
    settings = read_settings(document, found.reading.folder, pool_ids, problems)
    problems.raise_if_wrong()
    return HoldfastConfig(
        source=document.spot.file,
        spelling=found.spelling,
        state_dir=state_dir,
        tree=make_tree(tree),
        catalog_url=settings.catalog_url,
        catalog_password=settings.catalog_password,
        server=settings.server,
        jobs=settings.jobs,
        file_sources=settings.file_sources,
        user_preferences_extra=settings.user_preferences_extra,
        deleted_expires_after_s=settings.deleted_expires_after_s,
        reap_grace_s=settings.reap_grace_s,
        notes=problems.found(),
    )


def _defaults(document: Definition, problems: ProblemLog) -> dict[str, object]:
    """What the root of the document says for every pool."""
    defaults = {name: document.fields[name] for name in _HANDED_DOWN if name in document.fields}
    file_path = defaults.get("file_path")
    if isinstance(file_path, str) and file_path.endswith("/objects") and "store_by" not in defaults:
        # Galaxy's own rule for servers that do not say it
        defaults["store_by"] = "uuid"
        message = "ends in /objects, so datasets lie under their uuid, as in Galaxy"
        problems.note(document.key_spot("file_path"), message, "store_by: uuid, to say it yourself")
    return defaults


def _hand_to_root(document: Definition, tree: Definition, problems: ProblemLog) -> None:
    for name in _OF_THE_ROOT:
        if name not in document.fields:
            continue
        if tree.is_router or name == "max_percent_full":
            tree.fields.setdefault(name, document.fields[name])
        else:
            problems.note(document.key_spot(name), "has no effect: there is one pool, and no router over it")
