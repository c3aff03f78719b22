"""Where a dataset may lie that the catalog knows nothing of: data that was there before us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast import layout
from holdfast.keys import Key


@dataclass(frozen=True, slots=True)
class Place:
    """A pool in probe order, and how it names datasets."""

    object_store_id: str
    store_by: layout.StoreBy
    check_old_style: bool = False


def candidates(places: list[Place], dataset_id: int | None, uuid: str | None) -> Iterator[tuple[str, Key]]:
    """(pool, key) where the dataset may be, in the order in which to look.

    A pool that stores by id can only be searched by id, one that stores by uuid only by uuid. Old-style
    names come first where a pool says so, as Galaxy looks for them.
    """
    for place in places:
        if place.store_by == "id" and dataset_id is not None:
            if place.check_old_style:
                yield place.object_store_id, layout.old_style_key(dataset_id)
            yield place.object_store_id, layout.primary_key("id", dataset_id, "")
        elif place.store_by == "uuid" and uuid is not None:
            yield place.object_store_id, layout.primary_key("uuid", 0, uuid)
