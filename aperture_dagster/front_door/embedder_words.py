"""What embedding models need, and what a change to another one means, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aperture_dagster.prices.choices import Choice, Need
from aperture_dagster.prices.costs import IN_PROCESS, UNKNOWN
from aperture_dagster.texts import Texts, marked

NEEDS: Mapping[Need, str] = {
    "nothing": marked("nothing"),
    "package": marked("the package fastembed, which is not installed: pip install 'aperture-dagster[transformer]'"),
    "key": marked("a key of the provider in OPENAI_API_KEY"),
    "key is set": marked("a key in OPENAI_API_KEY (set)"),
    "perhaps a key": marked("a key in OPENAI_API_KEY, if your server asks for one"),
}


def choice_in_words(choice: Choice, _: Texts) -> Mapping[str, str]:
    """Return the columns of the table of models."""
    cost, row = choice.cost, choice.cost.row()
    marks = [_("configured")] if cost.is_configured else []
    if cost.gone_since is not None:
        marks.append(_("gone from the price list since %(day)s", day=f"{cost.gone_since:%Y-%m-%d}"))
    words = {IN_PROCESS: _("in this process"), UNKNOWN: _("unknown")}
    columns = {name: words.get(text, text) for name, text in row.items()}
    return {
        **columns,
        "model": f"{cost.model} ({', '.join(marks)})" if marks else cost.model,
        "needs": _(NEEDS[choice.need]),
        "download": _megabytes(choice.download, _),
        "memory": _("at least %(size)s", size=_megabytes(choice.memory, _)) if choice.memory_is_least
        else _megabytes(choice.memory, _),
        "time": _time(choice, _) if choice.vectors else _("in use"),
    }  # fmt: skip


def change_in_words(choice: Choice, _: Texts) -> str:
    """Return what it means to change to a model."""
    if not choice.vectors:
        return _("The vectors in use already come from this model, so nothing is recomputed.")
    sentences = [_.plural("%(count)s vector is recomputed.", "All %(count)s vectors are recomputed.", choice.vectors)]
    if choice.seconds is None:
        sentences.append(_("How long that takes is not known here; the page of jobs then shows how far it is."))
    else:
        sentences.append(_("That takes: %(time)s.", time=_time(choice, _)))
    if choice.leaves_home:
        usd = choice.cost.row()["usd_library"]
        sentences.append(_("The texts of titles are sent to the endpoint, once this is saved."))
        sentences.append(_("What that costs is not known.") if choice.cost.library is None
                         else _("That costs about %(usd)s USD.", usd=usd))  # fmt: skip
    if choice.need in ("key", "package"):
        sentences.append(_("It needs: %(what)s.", what=_(NEEDS[choice.need])))
    sentences.append(_("Members keep their lists until all vectors are there."))
    return " ".join(sentences)


def _time(choice: Choice, _: Texts) -> str:
    if choice.seconds is None:
        return _("unknown")
    minutes = math.ceil(choice.seconds / 60)
    if choice.seconds < 60:
        time = _("less than a minute")
    else:
        time = _.plural("about %(count)s minute", "about %(count)s minutes", minutes)
    how = _("measured here") if choice.is_measured else _("documented for two cores")
    return f"{time} ({how})"


def _megabytes(size: int | None, _: Texts) -> str:
    if size is None:
        return _("unknown")
    return f"{_.number(size)} MB" if size else _("nothing")
