"""Accounts, credentials, attempts and uploads in both databases, from many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.test_who import Later

from holdfast.catalog.accounts import Accounts
from holdfast.catalog.attempts import FORGET_S, AttemptLedger
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.uploads import Upload, UploadLedger
from holdfast.errors import AlreadyExists, Blocked, NotFound, QuotaExceeded
from holdfast.seams import SystemEntropy


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    opened = Catalog.open(url, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def accounts(catalog: Catalog, clock: Later) -> Accounts:
    return Accounts(catalog.db, clock, SystemEntropy())


def at_once(count: int, work) -> list[object]:
    """What `work(n)` gave or raised, called from so many threads at the same moment."""
    barrier = threading.Barrier(count)
    results: list[object] = [None] * count

    def run(at: int) -> None:
        barrier.wait()
        try:
            results[at] = work(at)
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            results[at] = error

    threads = [threading.Thread(target=run, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_accounts(accounts: Accounts):
    alice = accounts.create("Alice@Example.org", password="a long password", is_admin=True)
    bob = accounts.create("bob@example.org", preferred_pool="newdata")
    assert (alice.email, alice.is_admin, alice.has_password) == ("alice@example.org", True, True)
    assert (bob.is_admin, bob.has_password, bob.preferred_pool) == (False, False, "newdata")
    assert alice.id < bob.id
    assert accounts.find(bob.id) == bob == accounts.find_email("BOB@example.org")
    assert [one.email for one in accounts.accounts(limit=1)] == ["alice@example.org"]
    assert [one.email for one in accounts.accounts(after=alice.id)] == ["bob@example.org"]
    assert accounts.check_password("alice@example.org", "a long password") == alice
    assert accounts.check_password("bob@example.org", "") is None
    assert accounts.prefer_pool(bob.email, None).preferred_pool is None
    with pytest.raises(NotFound):
        accounts.find(99)


def test_one_address_one_account_from_many_threads(accounts: Accounts):
    results = at_once(8, lambda _: accounts.create("same@example.org").id)
    made = [one for one in results if isinstance(one, int)]
    assert len(made) == 1, results
    others = at_once(8, lambda at: accounts.create(f"n{at}@example.org").id)
    assert len({one for one in others if isinstance(one, int)}) == 8, others


def test_a_link_is_good_for_one_of_many(accounts: Accounts):
    accounts.create("a@example.org")
    link = accounts.new_link("a@example.org")
    results = at_once(8, lambda _: accounts.redeem(link))
    assert [one is not None for one in results].count(True) == 1, results


def test_one_administrator_stays_whoever_is_quicker(accounts: Accounts):
    for at in range(2):
        accounts.create(f"n{at}@example.org", is_admin=True)
    for _ in range(10):
        results = at_once(2, lambda at: accounts.revoke_admin(f"n{at}@example.org"))
        left = [one for one in accounts.accounts() if one.is_admin]
        assert len(left) == 1, results
        assert [isinstance(one, Blocked) for one in results].count(True) == 1, results
        for at in range(2):
            accounts.grant_admin(f"n{at}@example.org")


def test_credentials(accounts: Accounts, clock: Later):
    accounts.create("a@example.org")
    token = accounts.new_token("a@example.org", label="x" * 500)
    assert token.startswith("hf_")
    proof = accounts.prove(token, "token")
    assert proof.account.email == "a@example.org"
    assert accounts.prove(token, "session") is None
    assert accounts.prove(token + "0", "token") is None
    [held] = accounts.credentials("a@example.org")
    assert (held.id, len(held.label)) == (proof.credential.id, 200)
    with pytest.raises(NotFound):
        accounts.revoke("a@example.org", "nothing")
    accounts.revoke("a@example.org", held.id)
    assert accounts.prove(token, "token") is None
    session = accounts.new_session("a@example.org", expires_s=100)
    clock.ahead_s += 101
    assert accounts.prove(session, "session") is None
    assert accounts.reap() == 1


def test_attempts_count_before_the_answer_is_known(catalog: Catalog, clock: Later):
    attempts = AttemptLedger(catalog.db, clock)
    for at in range(5):
        results = at_once(16, lambda _, at=at: attempts.begin(f"x{at}@example.org", f"10.1.0.{at}"))
        assert [one == 0.0 for one in results].count(True) == 5, results
    at_once(16, lambda _: attempts.begin("a@example.org", "10.0.0.1"))
    assert attempts.begin("b@example.org", "10.0.0.1") == 0.0
    assert attempts.begin("a@example.org", "10.0.0.2") == 0.0
    clock.ahead_s += FORGET_S + 1
    assert attempts.begin("a@example.org", "10.0.0.1") == 0.0
    attempts.succeeded("a@example.org", "10.0.0.1")
    # nothing that was typed is kept
    with catalog.db.read() as cursor:
        cursor.execute("SELECT bucket FROM attempt")
        assert all(len(row[0]) == 64 and "example" not in row[0] for row in cursor.fetchall())


def test_guessing_from_everywhere_is_slow_too(catalog: Catalog, clock: Later):
    attempts = AttemptLedger(catalog.db, clock)
    waits = [attempts.begin("a@example.org", f"10.0.{at // 250}.{at % 250}") for at in range(150)]
    assert any(waits)
    # but nobody is locked out for long by somebody else
    assert max(waits) <= 30
    one_address = [attempts.begin(f"n{at}@example.org", "10.9.9.9") for at in range(60)]
    assert any(one_address)


def upload(at: int, owner: str = "a@example.org") -> Upload:
    return Upload(f"{at:032x}", owner, f"n{at}", 10, 0, None, 0, 0, "/tmp", "newdata", {"k": "ü"}, "filename eA==")


def test_uploads(catalog: Catalog, clock: Later):
    ledger = UploadLedger(catalog.db, clock)
    added = ledger.add(upload(1), open_max=2)
    assert (added.name, added.labels, added.pool, added.metadata) == ("n1", {"k": "ü"}, "newdata", "filename eA==")
    assert added.touched_us == added.created_us > 0
    clock.ahead_s += 10
    ledger.progressed(added.id, 5)
    assert ledger.find(added.id).touched_us > added.touched_us
    ledger.whole(added, "blake3:00")
    assert ledger.find(added.id).checksum == "blake3:00"
    ledger.add(upload(2), open_max=2)
    with pytest.raises(QuotaExceeded):
        ledger.add(upload(3), open_max=2)
    ledger.add(upload(3, "b@example.org"), open_max=2)
    ledger.finished(added.id, 77)
    assert (ledger.find(added.id).dataset_id, ledger.find(added.id).offset_bytes) == (77, 10)
    assert [one.name for one in ledger.unfinished("a@example.org")] == ["n2"]
    assert {one.name for one in ledger.stale(clock.now_us() + 1)} == {"n1", "n2", "n3"}
    assert ledger.stale(added.created_us) == []
    ledger.remove(added.id)
    ledger.remove(added.id)
    with pytest.raises(NotFound):
        ledger.find(added.id)


def test_the_same_address_again_says_what_to_do(accounts: Accounts):
    accounts.create("a@example.org")
    with pytest.raises(AlreadyExists, match="holdfast user set"):
        accounts.create("a@example.org")
