"""What is written: the starter document and the table of keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from holdfast.config.expand import render_document, to_document
from holdfast.config.keys import Key
from holdfast.config.reference import key_tables
from holdfast.config.vocabulary import POOL_KEYS, ROUTER_KEYS, TYPE_KEYS, TYPE_WORDS
from holdfast.config.vocabulary_document import DOCUMENT_KEYS
from holdfast.config.write import starter_document

ALL_KEYS = [
    *(("holdfast", key) for key in DOCUMENT_KEYS),
    *(("pool", key) for keys in (POOL_KEYS, ROUTER_KEYS, *TYPE_KEYS.values()) for key in keys),
]


class TestStarterDocument:
    def test_two_local_pools(self, desk):
        config = desk.read(starter_document(), state=None)
        assert config.notes == ()
        assert config.state_dir == desk.folder / "holdfast-state"
        assert [(pool.object_store_id, pool.files_dir) for pool in config.pools()] == [
            ("newdata", str(desk.folder / "pools" / "newdata")),
            ("olddata", str(desk.folder / "pools" / "olddata")),
        ]
        assert config.pools()[0].extra_dirs["job_work"] == str(desk.folder / "pools" / "newdata" / "job_work_dir")
        assert config.tree.kind == "hierarchical"

    def test_galaxys_own_file(self, desk):
        desk.write('<object_store type="disk" id="a"><files_dir path="/a"/></object_store>', "its file.xml")
        config = desk.read(starter_document(object_store="its file.xml"))
        assert [pool.object_store_id for pool in config.pools()] == ["a"]

    @pytest.mark.parametrize("name", ["a b", "no", "a: b", "#x", "{x}", 'quo"te', "é", "a'b", "- x", "%x", "007"])
    def test_any_folder(self, desk, name):
        pools = desk.folder / name / "pools"
        config = desk.read(starter_document(pools, state_dir=name), state=None)
        assert config.pools()[0].files_dir == str(pools / "newdata")
        assert config.state_dir == desk.folder / name

    def test_what_is_commented_out_is_right_too(self, desk):
        """Each line `# key: value` can be taken in as it stands."""
        text = starter_document()
        uncommented = re.sub(r"^(\s*)# (\w+: [^(]*?)(  +#.*)?$", r"\1\2", text, flags=re.MULTILINE)
        uncommented = uncommented.replace("catalog: sqlite\n", "").replace("hierarchical   the", "# the")
        for name in ("file_sources_conf.yml", "user_preferences_extra_conf.yml"):
            desk.write("[]", name)
        config = desk.read(uncommented, environ={"HOLDFAST_CATALOG_PASSWORD": "x"})
        assert config.pools()[0].name == "New disk"
        assert config.catalog_url is not None
        assert config.server.public_url is not None
        assert config.file_sources is not None

    def test_it_is_a_page_that_people_read(self):
        lines = starter_document().splitlines()
        assert max(map(len, lines)) <= 110
        assert sum("#" in line for line in lines) > 15


class TestTable:
    def test_every_key_stands_in_it(self):
        table = key_tables()
        for _, key in ALL_KEYS:
            assert f"| `{key.name}` |" in table, key.name
        for type_name in TYPE_KEYS:
            assert f"## type: {type_name}" in table

    def test_it_is_a_table(self):
        rows = [line for line in key_tables().splitlines() if line.startswith("|")]
        assert len(rows) > 200
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert cells == {5, 7}

    def test_every_key_says_what_it_does(self):
        assert [key.name for _, key in ALL_KEYS if not (key.help or key.no_effect)] == []
        assert set(TYPE_WORDS) == set(TYPE_KEYS)

    @pytest.mark.parametrize("type_name", TYPE_KEYS)
    def test_names_and_places_are_not_used_twice(self, type_name):
        keys: tuple[Key, ...] = (*POOL_KEYS, *TYPE_KEYS[type_name])
        for spelling in ("holdfast", "galaxy-yaml"):
            names = [name for key in keys for name in key.names(spelling)]
            assert len(names) == len(set(names))
        places = [place for key in keys for place in key.places()]
        assert len(places) == len(set(places))

    def test_every_unit_can_be_left_to_the_value(self):
        for _, key in ALL_KEYS:
            for ending in ("_bytes", "_s"):
                if key.name.endswith(ending):
                    assert key.short, key.name
                    assert key.short[0] == key.name.removesuffix(ending)

    def test_a_short_name_stands_in_the_same_block(self):
        for _, key in ALL_KEYS:
            if key.short:
                assert key.short[0].rpartition(".")[0] == key.block
                assert key.name.startswith(key.short[0])


class TestRender:
    def test_what_was_not_said_is_there(self, desk):
        config = desk.read("pools: {a: {type: disk, files_dir: /a}}\n")
        document = yaml.safe_load(render_document(to_document(config)))
        assert document["pools"]["a"]["store_by"] == "id"
        assert document["server"]["port"] == 8080
        assert document["catalog"] == "sqlite"
        assert "placement" not in document

    def test_long_and_odd_texts_come_back(self, desk):
        description = "é" * 300 + ": # \n\n- 'quoted' \"twice\" {x} & *y"
        text = render_document({"pools": {"a": {"type": "disk", "files_dir": "/a", "description": description}}})
        config = desk.read(text)
        assert config.pools()[0].description == description
        assert desk.read(render_document(to_document(config))) == config

    def test_weights_of_routers_come_back(self, desk):
        text = (
            "pools: {a: {type: disk, files_dir: /a}, b: {type: disk, files_dir: /b}}\n"
            "placement: {distributed: [{hierarchical: [a], weight: 3}, b]}\n"
        )
        config = desk.read(text)
        assert config.tree.children[0].weight == 3
        assert desk.read(render_document(to_document(config))) == config

    def test_the_state_directory_is_where_it_was(self, tmp_path: Path, desk):
        config = desk.read("pools: {a: {type: disk, files_dir: /a}}\n", state=tmp_path / "s")
        assert to_document(config)["state_dir"] == str(tmp_path / "s")
