"""The titles of the library as lists are ranked in them, and which of them each user may see."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from aperture_dagster.catalogue.access import Copy, visible_copies, within_limit
from aperture_dagster.taste.lists import read_titles
from aperture_dagster.taste.vectors import read_vectors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.taste.ranking.library import Library


@dataclass(frozen=True, slots=True, eq=False)
class Shelves:
    """The item table without its lists of names, and what was computed from it and the vectors."""

    items: pd.DataFrame
    library: Library


def read_shelves(connection: Connection, model_key: str) -> Shelves:
    """Read and prepare the library."""
    # pandas and numpy double the time that every `dagster` command takes to start.
    from aperture_dagster.taste.ranking.library import library_of

    items, names = read_titles(connection)
    return Shelves(items, library_of(items, *read_vectors(connection, model_key, items["work_id"]), names))


def in_sight(
    users: Sequence[User],
    items: pd.DataFrame,
    copies: Sequence[Copy],
    unwanted: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> tuple[dict[str, Mapping[int, int]], dict[Hashable, NDArray[np.bool_]]]:
    """Return by user the works of which they may see a copy, with that copy, and a mask of the titles to leave out.

    ``copies`` are all copies in the library; only users whose access is limited need them. ``unwanted`` has the works
    that users have hidden, by user.
    """
    usual: dict[int, int] = dict(zip(items["work_id"].tolist(), items["item_id"].tolist(), strict=True))
    visible: dict[str, Mapping[int, int]] = {
        user.user_id: visible_copies(copies, user.access, usual) if user.access.is_limited else usual for user in users
    }
    return visible, {
        user.user_id: _excluded(user, items, visible[user.user_id], unwanted.get(user.user_id, ())) for user in users
    }


def _excluded(
    user: User, items: pd.DataFrame, visible: Mapping[int, int], unwanted: Collection[int]
) -> NDArray[np.bool_]:
    """Mask the titles, shape (n,), of which a user may see no copy, which are beyond their parental limit, or which
    they have hidden.
    """
    import numpy as np

    mask = np.isin(items["work_id"], np.fromiter(unwanted, dtype=np.int64, count=len(unwanted)))
    if user.access.is_limited:
        mask |= ~np.isin(items["work_id"], np.fromiter(visible, dtype=np.int64, count=len(visible)))
    if user.max_parental_rating is not None:
        # A few dozen ratings are those of all titles.
        beyond = {one for one in items["official_rating"].unique() if not within_limit(one, user.max_parental_rating)}
        mask |= np.fromiter((one in beyond for one in items["official_rating"]), dtype=bool, count=len(items))
    return mask
