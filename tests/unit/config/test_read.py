"""Finding and reading documents: places, state directory, spellings, defaults, what is handed down."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import pytest

from holdfast.config.definitions import DEPTH_MAX
from holdfast.config.document import (
    FrozenMapping,
    HoldfastConfig,
    JobsConfig,
    PoolConfig,
    PoolNode,
    RouterNode,
    ServerConfig,
    walk_pools,
)
from holdfast.config.keys import Key
from holdfast.config.read import find_document, read_document, resolve_state_dir
from holdfast.config.vocabulary_document import JOBS_KEYS, ROOT_KEYS, SERVER_KEYS
from holdfast.errors import ConfigError

PLAIN = """\
pools:
  newdata: {type: disk, files_dir: /data2, order: 0}
  olddata: {type: disk, files_dir: /data, order: 1}
placement: hierarchical
"""
XML = "object_store_conf.xml"
DISK_XML = '<object_store type="disk" id="a"><files_dir path="/a"/></object_store>'


class TestFinding:
    def test_the_one_that_is_asked_for_comes_first(self, tmp_path):
        (tmp_path / "holdfast.yml").touch()
        assert find_document(Path("a.yml"), {"HOLDFAST_CONFIG": "b.yml"}, tmp_path) == Path("a.yml")
        assert find_document(None, {"HOLDFAST_CONFIG": "b.yml"}, tmp_path) == Path("b.yml")
        assert find_document(None, {"HOLDFAST_CONFIG": ""}, tmp_path) == Path("holdfast.yml")

    def test_none_at_all_says_what_to_do(self, tmp_path):
        with pytest.raises(ConfigError, match="holdfast init") as caught:
            find_document(None, {}, tmp_path)
        assert str(tmp_path) in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"nothing\.yml: cannot be read: No such file"):
            read_document(Path("nothing.yml"), environ={}, cwd=tmp_path)

    def test_a_name_that_no_file_can_have(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_document(Path("a\0b"), environ={}, cwd=tmp_path)

    def test_a_file_without_permission(self, tmp_path, monkeypatch):
        path = tmp_path / "secret.yml"
        path.write_text(PLAIN)
        monkeypatch.setattr(
            Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            read_document(path, environ={})


class TestStateDirectory:
    @pytest.mark.parametrize(
        ("explicit", "environ", "said", "expected"),
        [
            (Path("here"), {"HOLDFAST_STATE": "env"}, "/said", "/cwd/here"),
            (None, {"HOLDFAST_STATE": "env"}, "/said", "/cwd/env"),
            (None, {"HOLDFAST_STATE": ""}, "/said", "/said"),
            (None, {}, "/said", "/said"),
            (None, {}, None, "/cwd/holdfast-state"),
            (Path("/abs/../x"), {}, None, "/x"),
        ],
    )
    def test_the_first_that_is_given(self, explicit, environ, said, expected):
        assert resolve_state_dir(explicit, environ, said, Path("/cwd")) == Path(expected)

    def test_relative_to_the_document(self, desk):
        (desk.folder / "etc").mkdir()
        (desk.folder / "etc" / "holdfast.yml").write_text("state_dir: ../state\n" + PLAIN)
        config = read_document(Path("etc/holdfast.yml"), environ={}, cwd=desk.folder)
        assert config.state_dir == desk.folder / "state"

    def test_the_default_is_relative_to_where_one_stands(self, desk):
        (desk.folder / "etc").mkdir()
        (desk.folder / "etc" / "holdfast.yml").write_text(PLAIN)
        config = read_document(Path("etc/holdfast.yml"), environ={}, cwd=desk.folder)
        assert config.state_dir == desk.folder / "holdfast-state"

    def test_among_the_datasets_of_a_pool_it_is_refused(self, desk):
        asked_for_elsewhere = desk.read("state_dir: /data/000/state\n" + PLAIN, state=Path("/state"))
        assert asked_for_elsewhere.state_dir == Path("/state")
        with pytest.raises(ConfigError, match="the state directory /data/000/state lies among"):
            desk.read("state_dir: /data/000/state\n" + PLAIN, state=None)


class TestSpelling:
    @pytest.mark.parametrize(
        ("text", "name", "spelling"),
        [
            (PLAIN, "holdfast.yml", "holdfast"),
            (PLAIN, "any-name-at-all", "holdfast"),
            (DISK_XML, XML, "galaxy-xml"),
            (DISK_XML, "object_store_conf.xml.sample", "galaxy-xml"),
            ("\n" + DISK_XML, "object_store_conf.yml", "galaxy-xml"),
            ("type: disk\nid: a\nfiles_dir: /a\n", "object_store_conf.yml", "galaxy-yaml"),
            ("type: disk\nid: a\nfiles_dir: /a\n", "holdfast.yml", "galaxy-yaml"),
        ],
    )
    def test_is_told_by_what_stands_there(self, desk, text, name, spelling):
        config = desk.read(text, name)
        assert (config.spelling, config.source) == (spelling, name)

    def test_galaxys_file_beside_our_own_keys(self, desk):
        desk.write(DISK_XML, XML)
        config = desk.read(f"object_store: {XML}\nserver: {{port: 9000}}\njobs: {{keep_failed: 1 h}}\n")
        assert config.server.port == 9000
        assert config.jobs.keep_failed_s == 3600
        assert config.pools()[0].files_dir == "/a"

    def test_relative_paths_mean_the_folder_of_the_file_they_stand_in(self, desk):
        (desk.folder / "galaxy").mkdir()
        desk.write(DISK_XML.replace("/a", "files"), f"galaxy/{XML}")
        config = desk.read(f"object_store: galaxy/{XML}\n")
        assert config.pools()[0].files_dir == str(desk.folder / "galaxy" / "files")


class TestDefaults:
    def test_the_table_and_the_frozen_values_agree(self):
        def from_table(keys: tuple[Key, ...]) -> dict[str, object]:
            return {key.name.rpartition(".")[2]: key.default for key in keys if key.default is not None}

        assert from_table(SERVER_KEYS).items() <= dataclasses.asdict(ServerConfig()).items()
        assert from_table(JOBS_KEYS).items() <= dataclasses.asdict(JobsConfig()).items()
        times = {each.name: each.default for each in dataclasses.fields(HoldfastConfig) if each.name.endswith("_s")}
        assert times.items() <= from_table(ROOT_KEYS).items()

    def test_every_field_of_the_blocks_can_be_set(self):
        for cls, keys in ((ServerConfig, SERVER_KEYS), (JobsConfig, JOBS_KEYS)):
            names = {key.name.rpartition(".")[2] for key in keys}
            assert names == {each.name for each in dataclasses.fields(cls)}

    def test_what_a_plain_document_means(self, desk):
        config = desk.read(PLAIN)
        assert config == HoldfastConfig(
            source="",
            spelling="holdfast",
            state_dir=Path("/var/lib/holdfast"),
            tree=RouterNode(
                kind="hierarchical",
                node_id="hierarchical",
                children=(
                    PoolNode(PoolConfig("newdata", "disk", options=FrozenMapping({"files_dir": "/data2"})), order=0),
                    PoolNode(PoolConfig("olddata", "disk", options=FrozenMapping({"files_dir": "/data"})), order=1),
                ),
            ),
        )
        assert config.notes == ()
        assert config.pools()[0].driver_ready

    def test_the_order_is_that_of_the_file_where_none_is_said(self, desk):
        text = PLAIN.replace(", order: 0", "").replace(", order: 1", "")
        assert [child.order for child in desk.read(text).tree.children] == [0, 1]

    def test_children_stand_in_probe_order(self, desk):
        config = desk.read(PLAIN.replace("order: 0", "order: 7"))
        assert [pool.object_store_id for pool in config.pools()] == ["olddata", "newdata"]

    def test_one_pool_alone_is_the_tree(self, desk):
        tree = desk.read("pools: {a: {type: disk, files_dir: /a}}\n").tree
        assert isinstance(tree, PoolNode)
        assert (tree.order, tree.weight) == (None, 1)


class TestHandedDown:
    def test_from_the_root(self, desk):
        config = desk.read("store_by: uuid\ndurability: process\nobject_store_check_old_style: true\n" + PLAIN)
        assert {(pool.store_by, pool.durability, pool.check_old_style) for pool in config.pools()} == {
            ("uuid", "process", True)
        }

    def test_a_pool_goes_before_its_routers_and_they_before_the_root(self, desk):
        text = """\
store_by: uuid
pools:
  a: {type: disk, files_dir: /a, store_by: id, quota: {source: own}}
  b: {type: disk, files_dir: /b}
  c: {type: disk, files_dir: /c}
placement:
  hierarchical:
    - {distributed: [a, b], private: true, quota: {source: inner}, device: nvme, store_by: uuid}
    - c
  quota: {source: outer, enabled: false}
"""
        a, b, c = desk.read(text).pools()
        assert (a.store_by, a.private, a.quota.source, a.quota.enabled, a.device) == ("id", True, "own", False, "nvme")
        assert (b.store_by, b.private, b.quota.source, b.quota.enabled, b.device) == (
            "uuid",
            True,
            "inner",
            False,
            "nvme",
        )
        assert (c.store_by, c.private, c.quota.source, c.quota.enabled, c.device) == (
            "uuid",
            False,
            "outer",
            False,
            None,
        )

    def test_what_galaxy_yml_says(self, desk):
        desk.write('<object_store type="disk" id="a"/>', XML)
        text = f"object_store: {XML}\nfile_path: objects\njobs_directory: jobs\nnew_file_path: /tmp/galaxy\n"
        (pool,) = desk.read(text).pools()
        assert pool.files_dir == str(desk.folder / "objects")
        assert dict(pool.extra_dirs) == {"job_work": str(desk.folder / "jobs"), "temp": "/tmp/galaxy"}
        assert pool.store_by == "uuid", "Galaxy's rule for a folder called objects"
        assert desk.read(text + "object_store_store_by: id\n").pools()[0].store_by == "id"

    def test_galaxy_ymls_cache(self, desk):
        cache = "object_store_cache_path: /cache\nobject_store_cache_size: 10 GiB\n"
        text = (
            "pools:\n  a: {type: boto3, bucket: {name: a}}\n  b: {type: boto3, bucket: {name: b}, cache: {size: 1 GiB}}"
        )
        a, b = desk.read(f"{cache}{text}\nplacement: distributed\n").pools()
        assert (a.options["cache"]["path"], a.options["cache"]["size_bytes"]) == ("/cache", 10 * 2**30)
        assert (b.options["cache"]["path"], b.options["cache"]["size_bytes"]) == ("/cache", 2**30)

    def test_limits(self, desk):
        text = """\
max_percent_full: 95
pools:
  a: {type: disk, files_dir: /a, max_percent_full: 50}
  b: {type: disk, files_dir: /b}
  c: {type: disk, files_dir: /c}
placement: {hierarchical: [{distributed: [a, b], max_percent_full: 80}, c]}
"""
        placed = list(walk_pools(desk.read(text).tree))
        assert [each.max_percent_full for each in placed] == [50, 80, 95]
        assert [len(each.routers) for each in placed] == [2, 2, 1]
        assert [each.pool.max_percent_full for each in placed] == [50, None, None]


class TestDerivedIds:
    def read(self, desk, *folders: str) -> list[str]:
        backends = "".join(
            f'<backend type="disk" order="{order}"><files_dir path="{folder}"/></backend>'
            for order, folder in enumerate(folders)
        )
        text = f'<object_store type="hierarchical"><backends>{backends}</backends></object_store>'
        return [pool.object_store_id for pool in desk.read(text, XML).pools()]

    def test_the_last_part_of_the_folder(self, desk):
        assert self.read(desk, "/data2", "/mnt/old data") == ["data2", "old-data"]

    def test_as_much_of_the_folder_as_tells_them_apart(self, desk):
        folders = ("/new/galaxy/files", "/old/galaxy/files", "/plain")
        assert self.read(desk, *folders) == ["new-galaxy-files", "old-galaxy-files", "plain"]

    def test_they_do_not_hang_on_the_order_of_the_file(self, desk):
        folders = ["/a/files", "/b/files", "/c/d", "/e", "/f/e"]
        forward = dict(zip(folders, self.read(desk, *folders), strict=True))
        backward = dict(zip(folders[::-1], self.read(desk, *folders[::-1]), strict=True))
        assert forward == backward
        assert len(set(forward.values())) == len(folders)

    def test_folders_that_cannot_be_told_apart_by_letters(self, desk):
        assert self.read(desk, "/a b", "/a-b", "/é") == ["a-b", "a-b-2", "pool"]

    def test_a_bucket(self, desk):
        text = "type: boto3\nbucket: {name: datasets}\n"
        assert desk.read(text, "object_store_conf.yml").pools()[0].object_store_id == "datasets"


class TestNesting:
    def nested(self, depth: int) -> str:
        text = "a"
        for _ in range(depth):
            text = f"{{hierarchical: [{text}]}}"
        return f"pools: {{a: {{type: disk, files_dir: /a}}}}\nplacement: {text}\n"

    def test_to_the_limit(self, desk):
        (placed,) = walk_pools(desk.read(self.nested(DEPTH_MAX)).tree)
        assert len(placed.routers) == DEPTH_MAX
        assert len({router.node_id for router in placed.routers}) == DEPTH_MAX

    def test_beyond_the_limit(self, desk):
        problems = desk.problems(self.nested(DEPTH_MAX + 1))
        assert any(f"at most {DEPTH_MAX} deep" in problem.message for problem in problems)

    @pytest.mark.parametrize("name", [XML, "object_store_conf.yml"])
    def test_in_galaxys_spellings(self, desk, name):
        def text(depth: int) -> str:
            store = '<object_store type="hierarchical" order="0"><backends>{}</backends></object_store>'
            inner = '<backend id="a" type="disk" order="0"><files_dir path="/a"/></backend>'
            if name != XML:
                store = "{{type: hierarchical, backends: [{}]}}"
                inner = "{id: a, type: disk, files_dir: /a}"
            for _ in range(depth):
                inner = store.format(inner)
            return inner

        assert len(next(walk_pools(desk.read(text(DEPTH_MAX), name).tree)).routers) == DEPTH_MAX
        assert any(
            f"at most {DEPTH_MAX} deep" in problem.message for problem in desk.problems(text(DEPTH_MAX + 1), name)
        )

    def test_ids_of_routers_are_not_those_of_pools(self, desk):
        pools = "pools: {distributed: {type: disk, files_dir: /a}, b: {type: disk, files_dir: /b}}"
        text = f"{pools}\nplacement: distributed\n"
        tree = desk.read(text).tree
        assert tree.node_id not in {pool.object_store_id for pool in desk.read(text).pools()}


class TestFrozenValues:
    def test_equal_documents_are_equal_and_hash_alike(self, desk):
        first, second = desk.read(PLAIN), desk.read(PLAIN, "other.yml")
        assert first == second
        assert hash(first) == hash(second)
        assert first != desk.read(PLAIN.replace("/data2", "/data3"))

    def test_nothing_can_be_changed(self, desk):
        pool = desk.read(PLAIN).pools()[0]
        with pytest.raises(dataclasses.FrozenInstanceError):
            pool.name = "x"
        with pytest.raises(TypeError):
            pool.options["files_dir"] = "/x"

    def test_they_can_be_copied_and_sent(self, desk):
        config = desk.read(PLAIN)
        assert copy.deepcopy(config) == config
        assert pickle.loads(pickle.dumps(config)) == config


class TestServer:
    def test_all_of_it(self, desk):
        text = """
server:
  host: "::1"
  port: 0
  workers: 4
  public_url: https://data.example.org/
  direct: x-accel
  x_accel_prefix: {newdata: /_holdfast/newdata/}
  max_upload: 5 TiB
  upload_expires_after: 2 days
  session_expires_after_s: 60
"""
        config = desk.read(PLAIN + text)
        assert config.server == ServerConfig(
            host="::1",
            port=0,
            workers=4,
            public_url="https://data.example.org/",
            direct="x-accel",
            x_accel_prefix=FrozenMapping({"newdata": "/_holdfast/newdata/"}),
            max_upload_bytes=5 * 2**40,
            upload_expires_after_s=2 * 86_400,
            session_expires_after_s=60,
        )
        assert "olddata are streamed" in config.notes[0].message

    def test_a_prefix_that_nobody_uses_is_said(self, desk):
        config = desk.read(PLAIN + "server: {x_accel_prefix: {newdata: /x/}}\n")
        assert "no effect while direct is stream" in config.notes[0].message

    def test_named_files(self, desk):
        desk.write("[]", "file_sources_conf.yml")
        desk.write("{}", "preferences.yml")
        config = desk.read(PLAIN + "file_sources: file_sources_conf.yml\nuser_preferences_extra: preferences.yml\n")
        assert config.file_sources == str(desk.folder / "file_sources_conf.yml")
        assert config.user_preferences_extra == str(desk.folder / "preferences.yml")
