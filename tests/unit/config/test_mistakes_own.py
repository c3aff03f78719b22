"""Mistakes in our own spelling: each is reported with its file, its line, its place and what to write instead."""

from __future__ import annotations

import pytest

PLAIN = """\
pools:
  newdata: {type: disk, files_dir: /data2, order: 0}
  olddata: {type: disk, files_dir: /data, order: 1}
placement: hierarchical
"""


def with_pool(keys: str) -> str:
    """A document whose second pool, from line 5 on, has these keys."""
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    return f"placement: distributed\npools:\n  one: {{type: disk, files_dir: /one}}\n  two:\n{lines}"


def with_place(placement: str) -> str:
    """A document with three pools and, from line 5 on, this placement."""
    pools = "".join(f"  {name}: {{type: disk, files_dir: /{name}}}\n" for name in "abc")
    return f"pools:\n{pools}placement:\n" + "".join(f"  {line}\n" for line in placement.splitlines())


POOL_MISTAKES = [
    # keys (from line 5 on), line, where, message, instead
    ("type: disk\nfile_dir: /x\nfiles_dir: /two", 6, "pools.two.file_dir", "not known", "files_dir"),
    ("type: disc\nfiles_dir: /two", 5, "pools.two.type", "no type of store is called 'disc'", "type: disk"),
    ("type: pulsar\nfiles_dir: /two", 5, "pools.two.type", "Galaxy itself does not have", "type: disk"),
    ("files_dir: /two", 4, "pools.two", "has no type", "type: disk"),
    ("type: hierarchical", 4, "pools.two", "not a pool", "placement:"),
    ("type: disk", 4, "pools.two", "has no files_dir", "files_dir: /data2"),
    (
        "type: disk\nfiles_dir: [/two]",
        6,
        "pools.two.files_dir",
        "takes path, not a list",
        "files_dir: /data2",
    ),
    ('type: disk\nfiles_dir: ""', 6, "pools.two.files_dir", "is empty", "files_dir: /data2"),
    (
        "type: disk\nfiles_dir: ~/two",
        6,
        "pools.two.files_dir",
        "~ is not replaced",
        "files_dir: /home/you/two",
    ),
    ("type: disk\nfiles_dir: ' /two'", 6, "pools.two.files_dir", "begins or ends with a blank", "files_dir: /two"),
    ("type: disk\nfiles_dir: '/two/ /'", 6, "pools.two.files_dir", "begins or ends with a blank", "files_dir: /two"),
    ("type: disk\nfiles_dir: 3", 6, "pools.two.files_dir", "3 is no path; a folder with just that name", "/data2"),
    ("type: disk\nfiles_dir: no", 6, "pools.two.files_dir", "is written ./no", "files_dir: /data2"),
    ("type: disk\nfiles_dir: /", 6, "pools.two.files_dir", "root of the whole file system", "/data2"),
    ('type: disk\nfiles_dir: "/a\\nb"', 6, "pools.two.files_dir", "control character", "/data2"),
    (
        'type: disk\nfiles_dir: "{{ data }}"',
        6,
        "pools.two.files_dir",
        "template's placeholder",
        "render it first",
    ),
    ("type: disk\nfiles_dir: /two\nid: deux", 4, "pools.two.id", "stands before the colon", "no id"),
    (
        "type: disk\nfiles_dir: /two\nfiles_dir: /three",
        7,
        "pools.two.files_dir",
        "first time in line 6",
        "it once",
    ),
    (
        "type: disk\nfiles_dir: /two\nstore_by: name",
        7,
        "pools.two.store_by",
        "not one of id, uuid",
        "store_by: id",
    ),
    ("type: disk\nfiles_dir: /two\nstore_by: UUID", 7, "pools.two.store_by", "not one of", "store_by: uuid"),
    ("type: disk\nfiles_dir: /two\nprivate: maybe", 7, "pools.two.private", "neither true nor false", "true"),
    (
        "type: disk\nfiles_dir: /two\nweight: -1",
        7,
        "pools.two.weight",
        "is negative",
        "weight: 0",
    ),
    ("type: disk\nfiles_dir: /two\nweight: heavy", 7, "pools.two.weight", "not a number", "weight: 1"),
    ("type: disk\nfiles_dir: /two\nweight: .inf", 7, "pools.two.weight", "not a number", "weight: 1"),
    ("type: disk\nfiles_dir: /two\nweight: 1e300", 7, "pools.two.weight", "more than", "weight: 1"),
    (
        "type: disk\nfiles_dir: /two\nmax_percent_full: 0",
        7,
        "max_percent_full",
        "never let anything in",
        "no limit",
    ),
    ("type: disk\nfiles_dir: /two\nmax_percent_full: 101", 7, "max_percent_full", "between 0 and 100", "90"),
    ("type: disk\nfiles_dir: /two\ncapacity: 200", 7, "pools.two.capacity", "has no unit", "200 GiB"),
    ("type: disk\nfiles_dir: /two\ncapacity: 200 G", 7, "pools.two.capacity", "can mean GiB", "200 GiB"),
    ("type: disk\nfiles_dir: /two\ncapacity: 2 GiBs", 7, "pools.two.capacity", "no unit is called", "2 GiB"),
    ("type: disk\nfiles_dir: /two\ncapacity_bytes: 1.5", 7, "capacity_bytes", "whole number of bytes", "2"),
    ("type: disk\nfiles_dir: /two\ncapacity_bytes: lots", 7, "capacity_bytes", "not a size", "200 GiB"),
    (
        "type: disk\nfiles_dir: /two\ncapacity_bytes: 9 EiB",
        7,
        "capacity_bytes",
        "more than any store",
        "200 GiB",
    ),
    (
        "type: disk\nfiles_dir: /two\ndurability: none",
        7,
        "pools.two.durability",
        "not one of full, process",
        "full",
    ),
    ("type: disk\nfiles_dir: /two\nquota: 5", 7, "pools.two.quota", "keys with values", "quota: {…}"),
    (
        "type: disk\nfiles_dir: /two\nquota: {limit: 5}",
        7,
        "pools.two.quota.limit",
        "not known",
        "enabled, source",
    ),
    ("type: disk\nfiles_dir: /two\nobject_expires_after_days: 0", 7, "after_days", "between 1 and", "1"),
    (
        "type: disk\nfiles_dir: /two\nobject_expires_after_days: 010",
        7,
        "after_days",
        "not a whole number",
        "10",
    ),
    (
        "type: disk\nfiles_dir: /two\nbadges: [shiny]",
        7,
        "pools.two.badges[0]",
        "'shiny' is not known",
        "one of faster",
    ),
    ("type: disk\nfiles_dir: /two\nbadges: [fast]", 7, "pools.two.badges[0]", "is not known", "type: faster"),
    ("type: disk\nfiles_dir: /two\nbadges: [cloud]", 7, "badges[0]", "given by itself", "one of faster"),
    (
        "type: disk\nfiles_dir: /two\nbadges: [faster, slower]",
        7,
        "badges[1]",
        "slower contradicts faster",
        "one of the",
    ),
    ("type: disk\nfiles_dir: /two\nbadges: [faster, faster]", 7, "badges[1]", "given twice", "it once"),
    ("type: disk\nfiles_dir: /two\nbadges: faster", 7, "pools.two.badges", "list of badges", "type: faster"),
    (
        "type: disk\nfiles_dir: /two\nbadges: [{types: faster}]",
        7,
        "badges[0]",
        "a type and perhaps",
        "type: faster",
    ),
    ("type: disk\nfiles_dir: /two\nextra_dirs: /x", 7, "extra_dirs", "not the text '/x'", None),
    (
        "type: disk\nfiles_dir: /two\nextra_dirs: [{type: temp}]",
        7,
        "extra_dirs[0]",
        "a type and a path",
        "type: job_work",
    ),
    ("type: disk\nfiles_dir: /two\nextra_dirs: {temp: ~}", 7, "extra_dirs.temp", "takes a path", "/data2"),
    ("type: disk\nfiles_dir: /two\nextra_dirs: {temp: [/x]}", 7, "extra_dirs.temp", "takes a path", "/data2"),
    ('type: disk\nfiles_dir: /two\nname: "a\\eb"', 7, "pools.two.name", "U+001B", ""),
    ("type: s3\nauth: {access_key: a}", 4, "pools.two", "has no bucket.name", "bucket: {name: …}"),
    ("type: swift\nbucket: {name: b}", 4, "pools.two", "has no connection.host", "connection: {host: …}"),
    (
        "type: s3\nbucket: {name: b}\nconnection: {port: 0}",
        7,
        "connection.port",
        "between 1 and 65535",
        "443",
    ),
    (
        "type: boto3\nbucket: {name: b}\nconnection: {endpoint_url: s3.example.org}",
        7,
        "endpoint_url",
        "http",
        "https://",
    ),
    (
        "type: boto3\nbucket: {name: b}\nconnection: {endpoint_url: 'https://a:b@c'}",
        7,
        "endpoint_url",
        "a password",
        "keys",
    ),
    (
        "type: boto3\nbucket: {name: b}\nauth: {secret_key: '********'}",
        7,
        "secret_key",
        "is a mask",
        "env:NAME",
    ),
    (
        "type: boto3\nbucket: {name: b}\nauth: {secret_key: 'env:'}",
        7,
        "secret_key",
        "cannot be the name",
        "env:",
    ),
    ("type: boto3\nbucket: {name: b}\ncache: {size: 100}", 7, "cache.size", "has no unit", "100 GiB"),
    (
        "type: cloud\nbucket: {name: b}\nprovider: ibm",
        7,
        "pools.two.provider",
        "not one of aws",
        "provider: aws",
    ),
    (
        "type: cloud\nbucket: {name: b}\nprovider: google",
        4,
        "pools.two",
        "no auth credentials_file",
        "credentials_file",
    ),
]


@pytest.mark.parametrize(("keys", "line", "where", "message", "instead"), POOL_MISTAKES)
def test_mistake_in_a_pool(only_problem, keys, line, where, message, instead):
    problem = only_problem(with_pool(keys), line=line)
    assert where in problem.where
    assert message in problem.message
    assert instead is None or instead in (problem.instead or "")


PLACEMENT_MISTAKES = [
    # placement (from line 6 on), line, message, instead
    ("hierarchical: [a, b]", 4, "has no place in the placement", "c in the placement"),
    ("hierarchical: [a, b, c, a]", 6, "a has a place already, in line 6", "each pool once"),
    ("hierarchical: [a, b, c, d]", 6, "there is no pool 'd'", "one of a, b, c"),
    ("hierarchical: []", 6, "takes a list of pools and routers", "hierarchical: [newdata, olddata]"),
    ("hierarchical: a", 6, "takes a list of pools and routers", "hierarchical: [newdata, olddata]"),
    ("hierarchical: [a, b]\ndistributed: [c]", 6, "says hierarchical and distributed", "hierarchical:"),
    ("random: [a, b, c]", 6, "none of them", "hierarchical:"),
    ("hierarchical: [a, b, [c]]", 6, "not a list", "hierarchical:"),
    ("hierarchical: [a, b, c]\norders: 3", 7, "is not known here", "order"),
    ("hierarchical: [a, b, {pool: c, wait: 3}]", 6, "is not known here", "weight"),
    ("hierarchical: [a, b, {pool: [c]}]", 6, "takes a pool's id", "pool: newdata"),
    ("hierarchical: [{pool: a, order: 1}, {pool: b, order: 2}, c]", 4, "its neighbours have one", "order: 0"),
    ("hierarchical: [a, {distributed: [b, c], id: a}]", 6, "'a' is taken already", "an id of its own"),
]


@pytest.mark.parametrize(("placement", "line", "message", "instead"), PLACEMENT_MISTAKES)
def test_mistake_in_the_placement(desk, placement, line, message, instead):
    errors = [problem for problem in desk.problems(with_place(placement)) if problem.severity == "error"]
    found = [problem for problem in errors if message in problem.message]
    assert found, "\n".join(map(str, errors))
    assert found[0].line == line
    assert instead in (found[0].instead or "")


ROOT_MISTAKES = [
    # text, line, where, message, instead
    ("stat_dir: /x\n" + PLAIN, 1, "stat_dir", "is not known here", "state_dir"),
    (PLAIN + "server: {prot: 80}\n", 5, "server.prot", "is not known here", "port"),
    (PLAIN + "server: {port: 65536}\n", 5, "server.port", "between 0 and 65535", "server: {port: 8080}"),
    (PLAIN + "server: {host: 'a b'}\n", 5, "server.host", "no address to listen on", "127.0.0.1"),
    (PLAIN + "server: {direct: nginx}\n", 5, "server.direct", "not one of stream, x-accel", "direct: stream"),
    (
        PLAIN + "server: {x_accel_prefix: {newdat: /x/}}\n",
        5,
        "x_accel",
        "there is no pool 'newdat'",
        "newdata",
    ),
    (
        PLAIN + "server: {x_accel_prefix: {newdata: x}}\n",
        5,
        "x_accel",
        "begins and ends with a slash",
        "/_newdata/",
    ),
    (PLAIN + "server: {trusted_proxies: [nginx]}\n", 5, "trusted_proxies", "no IP address", "127.0.0.1"),
    (PLAIN + "server: {x_accel_prefix: /x/}\n", 5, "x_accel", "a text for each name", "newdata"),
    (PLAIN + "jobs: {keep_failed: 7}\n", 5, "jobs.keep_failed", "has no unit", "7 days"),
    (PLAIN + "jobs: {keep_failed: 7 m}\n", 5, "jobs.keep_failed", "no unit is called", "7 days"),
    (PLAIN + "jobs: {keep_failed_s: 0.5}\n", 5, "jobs.keep_failed_s", "whole number of seconds", "0 s"),
    (PLAIN + "jobs: {max_running: 0}\n", 5, "jobs.max_running", "between 1 and", "2"),
    (PLAIN + "jobs: [1]\n", 5, "jobs", "takes keys with values, not a list", "jobs: {…}"),
    (PLAIN + "deleted_expires_after: soon\n", 5, "deleted_expires_after", "not a length of time", "7 days"),
    (PLAIN + "catalog: mysql://db/x\n", 5, "catalog", "neither sqlite nor a PostgreSQL", "postgresql://"),
    (PLAIN + "catalog: sqlite:///x.db\n", 5, "catalog", "neither sqlite nor", "catalog: sqlite"),
    (PLAIN + "catalog: postgresql://db\n", 5, "catalog", "names no database", "postgresql://"),
    (PLAIN + "catalog: 'postgresql://[db/x'\n", 5, "catalog", "is not an address", "postgresql://"),
    (
        PLAIN + "catalog: postgresql://a:b@db/x\ncatalog_password: env:C\n",
        6,
        "catalog_password",
        "a password too",
        "one",
    ),
    (PLAIN + "file_sources: none.yml\n", 5, "file_sources", "there is no file", "one that is there"),
    (
        "pools: {a: {type: disk, files_dir: /a}, b: {type: disk, files_dir: /b}}\n",
        1,
        "pools",
        "no placement",
        "hierarchical",
    ),
    ("pools: [a]\n", 1, "pools", "each pool under its id", "newdata"),
    ("pools: {a: disk}\n", 1, "pools.a", "takes the keys of a pool", "type: disk"),
    ("server: {port: 80}\n", 1, "", "names no pools", "pools:"),
    ("pools: {'a/b': {type: disk, files_dir: /a}}\n", 1, "a/b", "cannot be an id", "id: a-b"),
    ("pools: {-a: {type: disk, files_dir: /a}}\n", 1, "-a", "cannot be an id", "id: a"),
    ("pools: {'': {type: disk, files_dir: /a}}\n", 1, "pools", "is empty", "newdata"),
    ("- type: dropbox\n", 1, "", "is a list, as file_sources_conf.yml is", "file_sources: FILE"),
    ("preferences: {}\n", 1, "", "user_preferences_extra_conf.yml", "user_preferences_extra: FILE"),
    ("galaxy: {object_store_config_file: x}\n", 1, "", "this is a galaxy.yml", "object_store: FILE"),
    ("just words\n", 1, "", "is no document", "pools:"),
]


@pytest.mark.parametrize(("text", "line", "where", "message", "instead"), ROOT_MISTAKES)
def test_mistake_at_the_root(only_problem, text, line, where, message, instead):
    problem = only_problem(text, line=line)
    assert where in problem.where
    assert message in problem.message
    assert instead in (problem.instead or "")


def test_all_mistakes_are_reported_at_once(desk):
    text = "stat_dir: x\npools:\n  a: {type: disc}\n  b: {type: disk, store_by: x}\nserver: {port: x}\n"
    problems = desk.problems(text)
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    said = "\n".join(map(str, problems))
    for part in ("stat_dir", "disc", "has no files_dir", "not one of id, uuid", "server.port"):
        assert part in said
    assert "holdfast.yml:1: stat_dir: is not known here; write: state_dir" in said


def test_many_mistakes_are_cut_off_with_their_number(desk):
    text = PLAIN + "".join(f"wrong_{number}: 1\n" for number in range(300))
    problems = desk.problems(text)
    assert len(problems) == 201
    assert "100 more" in problems[-1].message


def test_a_password_in_an_address_is_not_repeated_in_the_message(desk):
    for url in ("mysql://u:hunter2@db/x", "postgresql://u:hunter2@[db/x", "postgresql://u:hunter2@db"):
        said = "\n".join(map(str, desk.problems(f"{PLAIN}catalog: '{url}'\n")))
        assert "hunter2" not in said
        assert "********" in said


def said(desk, text: str) -> list[str]:
    return [str(problem) for problem in desk.problems(text)]


def test_a_way_of_placing_that_is_none_is_said_once_with_all_that_is_wrong_with_the_pools(desk):
    pools = "pools:\n  a: {type: disk, files_dir: d}\n  b: {type: disk, files_dir: e, order: zero}\n"
    found = said(desk, pools + "placement: round-robin\n")
    assert len(found) == 2
    assert "pools.b.order" in found[0]
    assert "hierarchical or distributed" in found[1]
    assert "placement: hierarchical" in found[1]


def test_the_key_that_was_written_is_the_one_to_be_written(desk):
    [found] = said(desk, "pools:\n  a: {type: disk, files_dir: d}\njobs: {keep_failed: soon}\n")
    assert "write: jobs: {keep_failed: 7 days}" in found


def test_weights_that_are_all_zero_are_said_once(desk):
    pools = "pools:\n  a: {type: disk, files_dir: d, weight: 0}\n  b: {type: disk, files_dir: e, weight: 0}\n"
    assert len(said(desk, pools + "placement: round-robin\n")) == 2
    [found] = said(desk, pools + "placement: distributed\n")
    assert found.endswith("write: weight: 1")


@pytest.mark.parametrize(
    "text",
    [
        "pools:\n  a: [\n",
        "pools: {a: {type: disk\n",
        "pools:\n a: 1\n  b: 2\n",
        "pools:\n  a: {type: disk, files_dir: d, colour: red}\n",
        "pools:\n  a: {type: disk, files_dir: d}\ncolour: red\n",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcde", "bcdef", strict=True)),
    ],
)
def test_every_mistake_says_what_to_write(desk, text):
    assert all("; write: " in line for line in said(desk, text))
