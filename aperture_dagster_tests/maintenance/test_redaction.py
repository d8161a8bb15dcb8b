"""Names of one person go from texts, and nothing else does."""

import base64
import json
import zlib
from typing import Any

from aperture_dagster.maintenance.redaction import FORMER, Redactor

ID = "9180f51ed50c1551df659dbaf7dca643"
ZOE = Redactor([ID, "Zoë", "Zoë-1"], kept=["Zoë Quist", "Anna"])


def test_a_name_goes_from_sentences_and_those_of_others_stay():
    assert ZOE.text("Zoë and Anna, Zoë's list, Zoë Quist, Zoëtrope.") == (
        f"{FORMER} and Anna, {FORMER}'s list, Zoë Quist, Zoëtrope."
    )
    assert ZOE.text(f"recommendations/{ID}/movie") == f"recommendations/{FORMER}/movie"
    assert ZOE.text("| user | film |\n| --- | --- |\n| Zoë | Jaws |\n| Anna | Alien |") == (
        "| user | film |\n| --- | --- |\n| Anna | Alien |"
    )


def test_events_stay_events_whatever_somebody_is_called():
    odd = Redactor(["movies", "name", "user"])
    table = {
        "__class__": "TableMetadataValue",
        "records": [
            {"__class__": "TableRecord", "data": {"user": "movies", "film": "Jaws"}},
            {"__class__": "TableRecord", "data": {"user": "Anna", "film": "Alien"}},
        ],
        "schema": {"__class__": "TableSchema", "columns": [{"__class__": "TableColumn", "name": "user"}]},
    }
    event = {
        "__class__": "AssetMaterialization",
        "asset_key": {"__class__": "AssetKey", "path": ["movies"]},
        "partition": "movies",
        "metadata_entries": [{"label": "user", "entry_data": table}],
    }
    after = odd.value(event)
    assert after["asset_key"] == event["asset_key"] and after["partition"] == FORMER
    data: Any = after["metadata_entries"][0]["entry_data"]
    assert data["schema"] == table["schema"], "columns keep their names"
    assert [record["data"]["film"] for record in data["records"]] == ["Alien"], "their row says what they watched"


def test_what_sensors_keep_is_searched_also_within_texts_and_compressed():
    cursor = json.dumps({"present": ["Anna", "Zoë-1"], "waiting": {"Zoë-1": None, "Anna": None}})
    body = json.dumps({"__class__": "InstigatorState", "cursor": cursor})
    assert json.loads(json.loads(ZOE.text(body))["cursor"]) == {"present": ["Anna"], "waiting": {"Anna": None}}
    packed = "0" + base64.b64encode(zlib.compress(cursor.encode())).decode()
    text = ZOE.value({"cursor": packed})["cursor"]
    assert json.loads(zlib.decompress(base64.b64decode(text[1:]))) == {"present": ["Anna"], "waiting": {"Anna": None}}
    assert ZOE.text("0eJnot-compressed") == "0eJnot-compressed"


def test_whatever_names_somebody_holds_one_of_the_needles():
    for name in ("Zoë Quist", 'The "King"', "Ирина", "Ann\\a", "日本"):
        plain = Redactor([name])
        once = json.dumps({"name": name})
        for text in (name, once, json.dumps({"cursor": once}), json.dumps(name, ensure_ascii=False)):
            if plain.text(text) != text or text == name:
                assert any(needle in text for needle in plain.needles), (name, text)
