"""One key of a document, as the table has it: its names in the three spellings, its value, its meaning.

Names are dotted where a key stands in a block (`cache.size_bytes`). Galaxy's YAML has the same name unless
`yaml` says otherwise. In XML a place is written `@attribute`, `element@attribute` or `element`; a dotted
name is `block@name` unless `xml` says otherwise. Where several names or places are listed, the first is the
one that Galaxy reads; we take the others too and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from holdfast.config.document import Spelling
from holdfast.config.values import Kind

ROOT = ""  # the parent of what stands at the root of the tree


@dataclass(frozen=True, slots=True)
class Key:
    """A line of the table."""

    name: str
    kind: Kind
    help: str
    default: object = None
    required: bool = False
    also: tuple[str, ...] = ()
    """Further names in our own spelling."""
    short: tuple[str, Kind] | None = None
    """The name without its unit, in our own spelling: it takes only values that bring one."""
    yaml: tuple[str, ...] = ()
    xml: tuple[str, ...] | None = ()
    """Its places in Galaxy's XML; None: it has none."""
    galaxy_places: int = 1
    """How many of its names or places, from the first, Galaxy itself looks at."""
    galaxy_kind: Kind | None = None
    """Its kind of value in Galaxy's spellings, where that differs (GiB instead of bytes)."""
    galaxy: bool = True
    """Whether Galaxy knows it at all. It may stand in Galaxy's files all the same."""
    yaml_types: frozenset[str] | None = None
    """The types on which Galaxy's YAML reader looks at it; None: all."""
    xml_types: frozenset[str] | None = None
    """The types on which Galaxy's XML reader looks at it; None: all."""
    xml_below: frozenset[str] = frozenset()
    """The kinds of parents below which Galaxy's XML reader looks at it, whatever the type."""
    below: frozenset[str] | None = None
    """The kinds of parents below which Galaxy looks at it (`ROOT` for none); None: all."""
    effect_below: frozenset[str] | None = None
    """The kinds of parents below which it means anything at all; None: all."""
    no_effect: str = ""
    """Why Holdfast has no use for it: it is read and reported, not kept."""
    no_effect_in_yaml: str = ""
    """The same, for Galaxy's YAML only."""
    caution: str = ""
    """What to know where Galaxy does not look at it but Holdfast does."""
    records: tuple[Key, ...] = ()

    def galaxy_reads(self, spelling: Spelling, type_name: str, parent: str) -> bool:
        """Whether Galaxy itself looks at this key, on such a store below such a parent."""
        if not self.galaxy or (self.below is not None and parent not in self.below):
            return False
        if spelling == "galaxy-xml" and parent in self.xml_below:
            return True
        types = self.xml_types if spelling == "galaxy-xml" else self.yaml_types
        return types is None or type_name in types

    @property
    def block(self) -> str:
        """The block it stands in, or nothing."""
        return self.name.rpartition(".")[0]

    def names(self, spelling: Spelling) -> tuple[str, ...]:
        """Its names in a YAML spelling, the proper one first."""
        if spelling == "holdfast" or not self.galaxy:
            return (self.name, *self.also, *((self.short[0],) if self.short else ()))
        return self.yaml or (self.name,)

    def places(self) -> tuple[str, ...]:
        """Its places in XML, the proper one first."""
        if self.xml is None:
            return ()
        own = (self.name, *((self.short[0],) if self.short and not self.galaxy else ()))
        return self.xml or tuple(f"{self.block}@{name.rpartition('.')[2]}" for name in own)

    def kind_under(self, name: str, spelling: Spelling) -> Kind:
        """The kind of value that is expected under one of its names or places."""
        if spelling != "holdfast" and self.galaxy:
            return self.galaxy_kind or self.kind
        return self.short[1] if self.short and name.lstrip("@") == self.short[0] else self.kind

    def spell(self, spelling: Spelling, text: str, written: str = "") -> str:
        """How to write this key with `text` as its value; in our own spelling under the name that was written."""
        if spelling == "galaxy-xml" and self.places():
            element, at, attribute = self.places()[0].partition("@")
            if not at:
                return f"<{element}>{text}</{element}>"
            pair = f'{attribute}="{text}"'
            return f"<{element} {pair}/>" if element else pair
        name = written if spelling == "holdfast" and written else self.names(spelling)[0]
        block, dot, last = name.rpartition(".")
        quoted = f'"{text}"' if text[:1] in "*&!%@`{[" and text[:1] else text
        return f"{block}: {{{last}: {quoted}}}" if dot else f"{name}: {quoted}"


@dataclass(frozen=True, slots=True)
class Place:
    """A name under which a key may stand, and how good a name it is: 0 is the one that Galaxy reads."""

    key: Key
    name: str
    rank: int


@cache
def yaml_places(keys: tuple[Key, ...], spelling: Spelling) -> dict[str, Place]:
    """Dotted name -> the key that may stand there, in a YAML spelling."""
    return {name: Place(key, name, rank) for key in keys for rank, name in enumerate(key.names(spelling))}


@cache
def xml_places(keys: tuple[Key, ...]) -> dict[str, Place]:
    """`@attribute`, `element@attribute` or `element` -> the key that may stand there."""
    return {place: Place(key, place, rank) for key in keys for rank, place in enumerate(key.places())}


@cache
def blocks(places: frozenset[str]) -> frozenset[str]:
    """The names of the blocks among dotted names."""
    return frozenset(name.partition(".")[0] for name in places if "." in name)
