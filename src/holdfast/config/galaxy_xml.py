"""Galaxy's XML: elements -> definitions.

The table says which attribute and which element is which key; this module knows only what is XML's own:
`<backends>`, children that may be called `<backend>` or `<object_store>`, badges as elements, extra folders
that repeat, and the forms that very old files have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from holdfast.config.definitions import DEPTH_MAX, SURELY, Definition, Said, kind_of_router, resolve_type
from holdfast.config.keys import ROOT, Key, Place, xml_places
from holdfast.config.nodes import Entry, ListNode, MapNode, Node, Spot, TextNode
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.vocabulary import keys_of
from holdfast.config.xml_source import Attribute, Element

_STORE_TAGS = ("backend", "object_store")


def define_from_xml(root: Element, problems: ProblemLog) -> Definition | None:
    """The tree that the root element means, or None where that has been reported."""
    if root.get("type") is None and next(root.named("backend"), None) is not None:
        message = "a legacy file (distributed_object_store_config_file): its root plays <backends>"
        problems.note(root.spot(), message, '<object_store type="distributed"><backends>…</backends></object_store>')
        definition = Definition("distributed", "galaxy-xml", root.spot())
        _Reader(problems).backends(root, definition, "the root", 1)
        return definition
    if root.tag not in _STORE_TAGS:
        message = f"the root is <{root.tag[:60]}>, not an object store"
        problems.error(root.spot(), message, '<object_store type="hierarchical">…</object_store>')
        if next(root.named("backends"), None) is None:
            return None
    return _Reader(problems).define(root, ROOT, 0, "the root")


class _Reader:
    def __init__(self, problems: ProblemLog) -> None:
        self._problems = problems

    def define(self, element: Element, parent: str, depth: int, name: str) -> Definition:
        """One store. `name` is what messages call it."""
        spot = element.spot(name)
        below = [child for backends in element.named("backends") for child in backends.children]
        over = kind_of_router(name for child in below for name in ("type", *child.attributes))
        word = self._type_word(element, parent, spot)
        type_name, certainty = resolve_type(word, spot, self._problems, "galaxy-xml", over=over)
        definition = Definition(type_name, "galaxy-xml", spot, parent, certainty=certainty)
        places = xml_places(keys_of(type_name))
        for attribute in element.attributes.values():
            self._attribute(element, "", attribute, definition, places=places, name=name)
        doubled: dict[str, int] = {}
        repeated: dict[str, list[Node]] = {}
        for child in element.children:
            if child.tag in doubled:
                message = f"is written twice; the first time in line {doubled[child.tag]}"
                self._problems.error(child.spot(f"{name}, <{child.tag}>"), message, "it once")
            elif child.tag == "backends" and definition.is_router:
                doubled[child.tag] = child.line
                self.backends(child, definition, name, depth + 1)
            elif self._child(child, definition, places, repeated, name):
                doubled[child.tag] = child.line
        for tag, items in repeated.items():
            spot = items[0].spot
            definition.say(Said(ListNode(tuple(items), spot), places[tag], spot), self._problems)
        if definition.is_router and next(element.named("backends"), None) is None:
            self._problems.error(element.spot(name), "has no <backends>", "<backends><backend …/></backends>")
        if element.text:
            self._problems.warn(element.spot(name), f"the text {element.text[:40]!r} means nothing here")
        return definition

    def backends(self, backends: Element, definition: Definition, name: str, depth: int) -> None:
        """The attributes and the children of `<backends>`."""
        places = xml_places(keys_of(definition.type_name))
        for attribute in backends.attributes.values():
            self._attribute(backends, "backends", attribute, definition, places=places, name=name)
        if depth > DEPTH_MAX:
            self._problems.error(backends.spot(f"{name}, <backends>"), f"routers nest at most {DEPTH_MAX} deep")
            return
        stores = 0
        for number, child in enumerate(backends.children, start=1):
            label = f'{child.tag} "{child.get("id")}"' if child.get("id") else f"{child.tag} {number}"
            if self._is_store(child, definition, label):
                stores += 1
                definition.children.append(self.define(child, definition.type_name, depth, label))
        if not stores:
            message = "holds no <backend>"
            self._problems.error(backends.spot(f"{name}, <{backends.tag}>"), message, "<backend …/>")

    def _is_store(self, child: Element, above: Definition, label: str) -> bool:
        """Whether a child of `<backends>` is a store; says what Galaxy thinks of its name."""
        spot = child.spot(label)
        if child.tag == "object_store" and above.type_name == "distributed":
            message = "Galaxy silently drops an <object_store> in a distributed one; Holdfast takes it"
            self._problems.note(spot, message, "<backend …>")
        elif child.tag not in _STORE_TAGS and above.type_name == "hierarchical" and child.get("type"):
            message = "Galaxy takes any element name here, and so does Holdfast"
            self._problems.note(spot, message, "<backend …>")
        elif child.tag not in _STORE_TAGS:
            self._problems.warn(spot, "is not a store, and is passed over", "<backend …>")
            return False
        return True

    def _type_word(self, element: Element, parent: str, spot: Spot) -> str | None:
        word = element.get("type")
        if word is None and (parent == "distributed" or next(element.named("files_dir"), None)):
            if parent != "distributed":
                message = "has no type: Galaxy cannot load this; Holdfast takes it for a disk"
                self._problems.warn(spot, message, 'type="disk"')
            return "disk"
        return word

    def _attribute(
        self,
        element: Element,
        inside: str,
        attribute: Attribute,
        definition: Definition,
        *,
        places: dict[str, Place],
        name: str,
    ) -> None:
        label = f"{name}, <{inside}> {attribute.name}" if inside else f"{name}, {attribute.name}"
        spot = element.spot(label, attribute.line)
        place = places.get(f"{inside}@{attribute.name}")
        if place is not None:
            definition.say(Said(TextNode(attribute.text, spot), place, spot), self._problems)
        else:
            self._unknown(spot, definition, _meant(inside, attribute.name, places, is_attribute=True), attribute.name)

    def _child(
        self,
        child: Element,
        definition: Definition,
        places: dict[str, Place],
        repeated: dict[str, list[Node]],
        name: str,
    ) -> bool:
        """Takes one child element; says whether it is one that may stand there once only."""
        label = f"{name}, <{child.tag}>"
        spot = child.spot(label)
        place = places.get(child.tag)
        if place is not None and place.key.kind.shape in ("extra_dirs", "records", "texts"):
            repeated.setdefault(child.tag, []).append(_record(child, label, place.key))
            return False
        if place is not None and place.key.kind.shape == "badges":
            badges = tuple(_badge(badge, f"{label}, <{badge.tag}>") for badge in child.children)
            definition.say(Said(ListNode(badges, spot), place, spot), self._problems)
        elif place is not None:
            definition.say(Said(TextNode(child.text, spot), place, spot), self._problems)
        elif any(key_place.startswith(f"{child.tag}@") for key_place in places):
            for attribute in child.attributes.values():
                self._attribute(child, child.tag, attribute, definition, places=places, name=name)
            for inner in child.children:
                self._problems.warn(inner.spot(f"{label}, <{inner.tag}>"), "means nothing here")
        elif definition.type_name == "disk" and {"type", "path"} <= child.attributes.keys():
            message = "Galaxy takes every unknown element of a disk for an extra_dir, and so does Holdfast"
            self._problems.warn(spot, message, f'<extra_dir type="{child.get("type")}" path="{child.get("path")}"/>')
            repeated.setdefault("extra_dir", []).append(_record(child, label, places["extra_dir"].key))
            return False
        else:
            self._unknown(spot, definition, _meant("", child.tag, places, is_attribute=False), child.tag)
            return False
        return True

    def _unknown(self, spot: Spot, definition: Definition, meant: Meant | None, word: str) -> None:
        if definition.certainty == "unknown" and not (meant and nearest(word, [meant.word], likeness=SURELY)):
            return
        message = "is not known here, and has no effect in Galaxy either"
        self._problems.warn(spot, message, meant.instead if meant else None)


def _record(child: Element, label: str, key: Key) -> Node:
    """A repeating element as a node: its text, or its attributes as a mapping."""
    spot = child.spot(label)
    if key.kind.shape == "texts":
        return TextNode(child.text, spot)
    return MapNode(tuple(_entries(child, label)), spot)


def _entries(child: Element, label: str) -> Iterator[Entry]:
    for attribute in child.attributes.values():
        spot = child.spot(f"{label} {attribute.name}", attribute.line)
        yield Entry(attribute.name, spot, TextNode(attribute.text, spot))


def _badge(element: Element, label: str) -> Node:
    spot = element.spot(label)
    parts = {"type": element.tag, "message": element.text}
    extra = tuple(Entry(name, spot, TextNode(each.text, spot)) for name, each in element.attributes.items())
    return MapNode(tuple(Entry(name, spot, TextNode(text, spot)) for name, text in parts.items()) + extra, spot)


class Meant(NamedTuple):
    """A known word, and how it is written."""

    word: str
    instead: str


def _meant(inside: str, word: str, places: dict[str, Place], *, is_attribute: bool) -> Meant | None:
    """What an unknown attribute or element was probably meant to be."""
    if inside:
        known = {place.partition("@")[2] for place in places if place.startswith(f"{inside}@")}
        guess = nearest(word, known)
        return Meant(guess, guess) if guess else None
    by_word: dict[str, str] = {}
    for place, at in places.items():
        element, _, attribute = place.partition("@")
        by_word.setdefault(element or attribute, at.key.spell("galaxy-xml", at.key.kind.example))
        if is_attribute:
            by_word.setdefault(at.key.name.rpartition(".")[2], at.key.spell("galaxy-xml", at.key.kind.example))
    guess = nearest(word, by_word)
    return Meant(guess, by_word[guess]) if guess else None
