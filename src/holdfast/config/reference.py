"""The table of keys as Markdown: what `docs/reference` shows, from the same lines that the readers use."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.config.keys import ROOT, Key
from holdfast.config.vocabulary import POOL_KEYS, ROUTER_KEYS, TYPE_ALIASES, TYPE_KEYS, TYPE_WORDS
from holdfast.config.vocabulary_document import DEFAULT_KEYS, JOBS_KEYS, ROOT_KEYS, SERVER_KEYS

_ALL_TYPES = frozenset({*TYPE_KEYS, "hierarchical", "distributed"})
_UNITS = (("_bytes", 1024**3, "GiB"), ("_bytes", 1024**2, "MiB"), ("_s", 86_400, "days"), ("_s", 1, "s"))


def key_tables() -> str:
    """All keys, as Markdown: the document, pools, routers, and each type of pool."""
    sections = [
        _section("The document", "At the root of `holdfast.yml`.", ROOT_KEYS, galaxy=False),
        _section("For all pools", "Also at the root; each pool can say otherwise.", DEFAULT_KEYS, galaxy=False),
        _section("server", "The block `server:`.", SERVER_KEYS, galaxy=False),
        _section("jobs", "The block `jobs:`.", JOBS_KEYS, galaxy=False),
        _section("Every pool", "Under the pool's id in `pools:`, or on Galaxy's `<backend>`.", POOL_KEYS),
        _section("Routers", "`hierarchical` and `distributed`, in `placement:` or in Galaxy's tree.", ROUTER_KEYS),
    ]
    for type_name, keys in TYPE_KEYS.items():
        aliases = [alias for alias, name in TYPE_ALIASES.items() if name == type_name]
        title = f"type: {type_name}" + (f" ({', '.join(aliases)})" if aliases else "")
        sections.append(_section(title, TYPE_WORDS[type_name], keys))
    return "\n".join(sections)


def _section(title: str, words: str, keys: Iterable[Key], *, galaxy: bool = True) -> str:
    head = ["key", "value", "default", "what it does"]
    if galaxy:
        head[3:3] = ["Galaxy's YAML", "Galaxy's XML"]
    lines = [f"## {title}", "", words, "", _row(head), _row(["---"] * len(head))]
    lines += [_row(_cells(key, galaxy=galaxy)) for key in keys]
    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(key: Key, *, galaxy: bool) -> list[str]:
    names = list(dict.fromkeys(key.names("holdfast")))
    cells = [_codes(names[:1]), key.kind.words, _default(key), _what(key, names[1:], galaxy=galaxy)]
    if galaxy:
        cells[3:3] = [
            _codes(key.names("galaxy-yaml")[:1]),
            _codes(_as_xml(place) for place in key.places()[:1]),
        ]
    return cells


def _codes(texts: Iterable[str]) -> str:
    return " ".join(f"`{text}`" for text in texts) or "-"


def _as_xml(place: str) -> str:
    element, at, attribute = place.partition("@")
    if not at:
        return f"<{element}>"
    return f'<{element} {attribute}="">' if element else f'{attribute}=""'


def _default(key: Key) -> str:
    value = key.default
    if value is None:
        return "required" if key.required else "-"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, int):
        for ending, factor, unit in _UNITS:
            if key.name.endswith(ending) and value % factor == 0:
                return f"`{value // factor} {unit}`"
    return f"`{value}`"


def _what(key: Key, other_names: list[str], *, galaxy: bool) -> str:
    sentences = [key.help] if key.help else []
    if key.no_effect:
        sentences.append(f"no effect: {key.no_effect}")
    if other_names:
        sentences.append(f"also {_codes(other_names)}")
    if galaxy:
        sentences += _galaxy_looks(key)
    if key.records:
        inner = ", ".join(f"`{each.names('holdfast')[-1]}` ({each.kind.words})" for each in key.records)
        sentences.append(f"each with {inner}")
    return "; ".join(sentences)


def _galaxy_looks(key: Key) -> list[str]:
    """Where Galaxy does not look at a key that Holdfast honours."""
    if key.no_effect:
        return []
    if not key.galaxy:
        return ["Galaxy does not look at it here"]
    sentences = []
    if key.below is not None:
        places = " and ".join("the root" if parent == ROOT else parent for parent in sorted(key.below))
        sentences.append(f"Galaxy looks at it below {places} only")
    if key.xml_types is not None and key.xml is not None:
        types = ", ".join(sorted(key.xml_types & _ALL_TYPES))
        below = f" and everything below {', '.join(sorted(key.xml_below))}" if key.xml_below else ""
        sentences.append(f"Galaxy's XML: on {types}{below} only" if types else "Galaxy's XML does not have it")
    if key.yaml_types is not None and key.yaml_types != key.xml_types:
        types = ", ".join(sorted(key.yaml_types))
        sentences.append(f"Galaxy's YAML: on {types} only" if types else "Galaxy's YAML does not have it")
    return sentences
