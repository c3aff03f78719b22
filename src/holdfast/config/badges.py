"""Badges: the properties of a pool that its users see. Types, conflicts and refusals are Galaxy's."""

from __future__ import annotations

from holdfast.config.document import Badge, Spelling
from holdfast.config.nodes import ListNode, MapNode, Node, Spot, TextNode, describe
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.quantities import BadValue
from holdfast.config.values import read_paragraph

BADGE_CONFLICTS: dict[str, str | None] = {
    "faster": "slower",
    "slower": "faster",
    "short_term": None,
    "backed_up": "not_backed_up",
    "not_backed_up": "backed_up",
    "more_secure": "less_secure",
    "less_secure": "more_secure",
    "more_stable": "less_stable",
    "less_stable": "more_stable",
}
"""Every badge that an administrator can give -> the one that contradicts it."""

GIVEN_BY_ITSELF = frozenset({"quota", "no_quota", "restricted", "user_defined", "cloud"})


def read_badges(node: Node, spot: Spot, problems: ProblemLog, spelling: Spelling) -> tuple[Badge, ...] | None:
    """The badges of one pool, in their order. Unknown, doubled and contradicting ones are errors."""
    if not isinstance(node, ListNode):
        problems.error(spot, f"takes a list of badges, not {describe(node)}", _example("faster", spelling))
        return None
    found: dict[str, Badge] = {}
    for item in node.items[: len(BADGE_CONFLICTS) * 4]:
        badge = _read_badge(item, problems, spelling)
        if badge is None:
            continue
        against = BADGE_CONFLICTS[badge.type]
        if badge.type in found:
            problems.error(item.spot, f"the badge {badge.type} is given twice", "it once")
        elif against in found:
            problems.error(item.spot, f"the badge {badge.type} contradicts {against}", "one of the two")
        else:
            found[badge.type] = badge
    return tuple(found.values()) or None


def _read_badge(item: Node, problems: ProblemLog, spelling: Spelling) -> Badge | None:
    parts: dict[str, Node] = {}
    if isinstance(item, MapNode):
        parts = {entry.name: entry.value for entry in item.entries}
    elif isinstance(item, TextNode):
        parts = {"type": item}
    source = parts.pop("source", None)
    if isinstance(source, TextNode) and source.text not in (None, "admin"):
        problems.note(item.spot, "has no effect: badges that Galaxy gives by itself are not read from a file")
        return None
    type_name = _text(parts.pop("type", None))
    message_node = parts.pop("message", None)
    if parts or not type_name or isinstance(message_node, (MapNode, ListNode)):
        problems.error(item.spot, "a badge has a type and perhaps a message", _example("faster", spelling))
        return None
    if type_name not in BADGE_CONFLICTS:
        reason = "is given by itself where it is true" if type_name in GIVEN_BY_ITSELF else "is not known"
        guess = nearest(type_name, BADGE_CONFLICTS)
        instead = _example(guess, spelling) if guess else f"one of {', '.join(BADGE_CONFLICTS)}"
        problems.error(item.spot, f"the badge {type_name[:60]!r} {reason}", instead)
        return None
    try:
        return Badge(type_name, read_paragraph(_text(message_node)))
    except BadValue as bad:
        problems.error(item.spot, f"its message {bad.message}")
        return None


def _text(node: Node | None) -> str:
    return node.text.strip() if isinstance(node, TextNode) and node.text else ""


def _example(type_name: str, spelling: Spelling) -> str:
    if spelling == "galaxy-xml":
        return f"<{type_name}>in your own words</{type_name}>"
    return f"{{type: {type_name}, message: in your own words}}"
