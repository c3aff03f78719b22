"""Who asks: passwords, sessions, CSRF, tokens, links, and how slow guessing is."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.api.served import ADMIN, ALICE, BOB, PASSWORD, Served, add_people, make_hold, running

from holdfast.catalog.accounts import Accounts
from holdfast.errors import AlreadyExists, Blocked, InvalidKey, NotFound
from holdfast.seams import SystemClock, SystemEntropy
from holdfast.server.auth import csrf_token_of
from holdfast.server.settings import ServerSettings

COOKIE = "holdfast_session"


@contextlib.contextmanager
def sign_in(served: Served, email: str = ALICE, password: str = PASSWORD) -> Iterator[httpx.Client]:
    """A client with a session's cookie, as a browser has it."""
    with httpx.Client(base_url=served.url, timeout=30, headers={"Origin": served.url}) as client:
        answer = client.post("/sign-in", data={"email": email, "password": password})
        assert answer.status_code == 303, answer.text
        assert client.cookies.get(COOKIE)
        yield client


def csrf(client: httpx.Client) -> dict[str, str]:
    return {"X-CSRF-Token": csrf_token_of(client.cookies[COOKIE])}


def test_a_session_is_somebody_and_ends_with_sign_out(served: Served):
    with sign_in(served) as browser:
        assert browser.get("/api/whoami").json()["email"] == ALICE
        secret = browser.cookies[COOKIE]
        browser.post("/sign-out", data={"csrf_token": csrf_token_of(secret)})
        assert browser.get("/api/whoami").status_code == 401
    # the cookie itself proves nothing any more
    assert httpx.get(served.url + "/api/whoami", cookies={COOKIE: secret}).status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_only_its_hash_is_stored(served: Served):
    with httpx.Client(base_url=served.url) as client:
        answer = client.post("/sign-in", data={"email": ALICE, "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    secret = client.cookies[COOKIE]
    stored = served.rows("SELECT hash, kind FROM credential WHERE kind = 'session'")
    assert len(stored) == 1
    assert secret not in repr(served.rows("SELECT * FROM credential"))


def test_the_cookie_is_secure_where_people_come_by_https(tmp_path):
    settings = ServerSettings(public_url="https://data.example.org")
    with make_hold(tmp_path) as hold, running(hold, tmp_path, settings) as served:
        add_people(served)
        answer = httpx.post(
            served.url + "/sign-in",
            data={"email": ALICE, "password": PASSWORD},
            headers={"Origin": "https://data.example.org"},
        )
    assert answer.status_code == 303
    assert "; secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_cookie_alone_changes_nothing(served: Served, method: str):
    with sign_in(served, ADMIN) as browser:
        for path in ("/api/datasets", "/api/datasets/1", "/api/pools/newdata", "/api/tokens", "/api/uploads", "/x"):
            answer = browser.request(method, path, json={"state": "offline"})
            assert answer.status_code == 403, (method, path, answer.status_code)
        assert browser.request(method, "/api/tokens", headers={"X-CSRF-Token": "0" * 64}).status_code == 403
    assert served.hold.pool("newdata").state == "active"


def test_with_its_csrf_token_a_session_may_write(served: Served):
    with sign_in(served, ADMIN) as browser:
        answer = browser.patch("/api/pools/newdata", json={"state": "read-only"}, headers=csrf(browser))
        assert answer.status_code == 200
    assert served.hold.pool("newdata").state == "read-only"


def test_another_sites_form_is_refused_even_with_the_token(served: Served):
    with sign_in(served, ADMIN) as browser:
        for origin in ("https://evil.example", "null", served.url + ".evil.example", "http://localhost:1"):
            headers = {**csrf(browser), "Origin": origin}
            answer = browser.patch("/api/pools/newdata", json={"state": "offline"}, headers=headers)
            assert answer.status_code == 403, origin
    assert served.hold.pool("newdata").state == "active"


def test_another_sites_sign_in_form_is_refused(served: Served, stranger: httpx.Client):
    answer = stranger.post(
        "/sign-in", data={"email": ALICE, "password": PASSWORD}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_one_sessions_token_is_not_anothers(served: Served):
    with sign_in(served, ADMIN) as one, sign_in(served, ADMIN) as two:
        answer = one.patch("/api/pools/newdata", json={"state": "offline"}, headers=csrf(two))
    assert answer.status_code == 403


def test_a_multipart_form_needs_its_token_before_the_file(served: Served):
    with sign_in(served) as browser:
        file = {"file": ("a.txt", b"hello")}
        assert browser.post("/api/datasets", files=file).status_code == 403
        assert browser.post("/api/datasets", files=file, data={"csrf_token": "wrong"}).status_code == 403
        right = {"csrf_token": csrf_token_of(browser.cookies[COOKIE])}
        answer = browser.post("/api/datasets", files=file, data=right)
        assert answer.status_code == 201
        assert answer.json()["owner"] == ALICE
        # a browser without scripts goes on to the page of what it has sent
        page = browser.post("/api/datasets", files=file, data=right, headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/datasets/2")
        # elsewhere a multipart form is nobody's, whatever it says
        answer = browser.post("/api/datasets/1/restore", files=file, data=right)
        assert answer.status_code == 401
    assert served.rows("SELECT count(*) FROM dataset") == [(2,)]


def test_tokens_work_in_both_headers_and_need_no_csrf(served: Served):
    token = served.token(ALICE)
    for headers in ({"Authorization": f"Bearer {token}"}, {"authorization": f"bearer {token}"}, {"x-api-key": token}):
        answer = httpx.post(served.url + "/api/datasets?name=a", headers=headers, content=b"x")
        assert answer.status_code == 201, headers
    assert token not in repr(served.rows("SELECT * FROM credential"))


@pytest.mark.parametrize("token", ["", "hf_", "hf_" + "0" * 64, "%00", "ü".encode().decode("latin-1"), "x" * 5000])
def test_a_wrong_token_is_nobody(served: Served, token: str):
    answer = httpx.get(served.url + "/api/whoami", headers=[(b"x-api-key", token.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["title"] == "Please sign in"


def test_a_bad_token_is_not_made_good_by_a_cookie(served: Served):
    with sign_in(served) as browser:
        answer = browser.get("/api/whoami", headers={"x-api-key": "hf_wrong"})
    assert answer.status_code == 401


def test_revoked_and_expired_tokens_are_refused(served: Served, alice: httpx.Client):
    made = alice.post("/api/tokens", json={"label": "laptop", "expires_s": 1}).json()["token"]
    use = {"x-api-key": made}
    assert httpx.get(served.url + "/api/whoami", headers=use).status_code == 200
    time.sleep(1.1)
    assert httpx.get(served.url + "/api/whoami", headers=use).status_code == 401
    made = alice.post("/api/tokens", json={"label": "phone"}).json()["token"]
    listed = alice.get("/api/tokens").json()
    assert made not in repr(listed)
    [phone] = [one for one in listed if one["label"] == "phone"]
    assert alice.delete(f"/api/tokens/{phone['id']}").status_code == 204
    assert httpx.get(served.url + "/api/whoami", headers={"x-api-key": made}).status_code == 401


def test_whoever_is_switched_off_is_out_at_once(served: Served, alice: httpx.Client):
    with sign_in(served) as browser:
        assert browser.get("/api/whoami").status_code == 200
        served.accounts.deactivate(ALICE)
        assert browser.get("/api/whoami").status_code == 401
        assert alice.get("/api/whoami").status_code == 401
    answer = httpx.post(served.url + "/sign-in", data={"email": ALICE, "password": PASSWORD})
    assert answer.status_code != 303 or "set-cookie" not in answer.headers


def test_a_link_signs_in_once(served: Served):
    secret = served.accounts.new_link(BOB)
    with httpx.Client(base_url=served.url, headers={"Origin": served.url}) as browser:
        # looking at it, as programs do that scan mail, does not use it up
        assert browser.get(f"/sign-in/{secret}").status_code == 200
        assert browser.post(f"/sign-in/{secret}").status_code == 303
        assert browser.get("/api/whoami").json()["email"] == BOB
    with httpx.Client(base_url=served.url, headers={"Origin": served.url}) as other:
        other.post(f"/sign-in/{secret}")
        assert other.get("/api/whoami").status_code == 401


def test_a_link_that_is_too_old_does_not_sign_in(served: Served):
    secret = served.accounts.new_link(BOB, expires_s=1)
    time.sleep(1.1)
    assert served.accounts.redeem(secret) is None
    fresh = served.accounts.new_link(BOB)
    newer = served.accounts.new_link(BOB)
    assert served.accounts.redeem(fresh) is None, "a newer link ends the older ones"
    assert served.accounts.redeem(newer) is not None


def test_guessing_gets_slow_and_says_for_how_long(served: Served):
    with httpx.Client(base_url=served.url) as client:
        answers = [client.post("/sign-in", data={"email": ALICE, "password": f"wrong{at}"}) for at in range(12)]
        statuses = [answer.status_code for answer in answers]
        assert 429 in statuses, statuses
        first = statuses.index(429)
        assert first >= 5
        assert int(answers[first].headers["retry-after"]) >= 1
        # the right password does not help as long as one has to wait
        blocked = client.post("/sign-in", data={"email": ALICE, "password": PASSWORD})
        assert blocked.status_code == 429
        # others are not kept out, and alice gets in when the time is over
        assert client.post("/sign-in", data={"email": BOB, "password": PASSWORD}).status_code == 303
        client.cookies.clear()
        time.sleep(int(blocked.headers["retry-after"]))
        assert client.post("/sign-in", data={"email": ALICE, "password": PASSWORD}).status_code == 303


def test_nobody_learns_whether_an_account_exists(served: Served, stranger: httpx.Client):
    known = stranger.post("/sign-in", data={"email": ALICE, "password": "wrong password"})
    unknown = stranger.post("/sign-in", data={"email": "nobody@example.org", "password": "wrong password"})
    assert known.status_code == unknown.status_code
    without = [re.sub(r"(alice|nobody)@example\.org", "EMAIL", answer.text) for answer in (known, unknown)]
    assert without[0] == without[1]


def test_unknown_accounts_take_as_long_as_known_ones(served: Served):
    served.accounts.check_password("nobody@example.org", PASSWORD)

    def fastest(email: str) -> float:
        times = []
        for _ in range(7):
            begin = time.thread_time()  # of this thread alone: the machine may be busy
            served.accounts.check_password(email, "wrong password")
            times.append(time.thread_time() - begin)
        return min(times)

    known, unknown, nonsense = fastest(ALICE), fastest("nobody@example.org"), fastest("no address")
    assert unknown > known * 0.5
    assert nonsense > known * 0.5


def test_a_session_goes_on_with_its_use_and_ends_without(tmp_path):
    clock = Later()
    with make_hold(tmp_path) as hold:
        accounts = Accounts(hold.catalog.db, clock, SystemEntropy())
        accounts.create(ALICE)
        secret = accounts.new_session(ALICE, expires_s=1000)
        for _ in range(20):
            clock.ahead_s += 800
            proof = accounts.prove(secret, "session", lasts_s=1000)
            assert proof is not None
            assert proof.renewed
        clock.ahead_s += 1001
        assert accounts.prove(secret, "session", lasts_s=1000) is None
        assert accounts.reap() == 1


def test_a_session_ends_at_last_however_much_it_is_used(tmp_path):
    clock = Later()
    with make_hold(tmp_path) as hold:
        accounts = Accounts(hold.catalog.db, clock, SystemEntropy())
        accounts.create(ALICE)
        secret = accounts.new_session(ALICE)
        days = 0
        while accounts.prove(secret, "session") is not None:
            clock.ahead_s += 7 * 86_400
            days += 7
            assert days < 100
    assert days >= 90


def test_a_new_password_ends_all_sessions(served: Served):
    with sign_in(served) as browser:
        served.accounts.set_password(ALICE, "another long password")
        assert browser.get("/api/whoami").status_code == 401
    assert served.accounts.check_password(ALICE, PASSWORD) is None
    assert served.accounts.check_password(ALICE, "another long password") is not None


def test_accounts_have_one_address_whatever_its_case(served: Served):
    with pytest.raises(AlreadyExists):
        served.accounts.create(" ALICE@Example.ORG ")
    assert served.accounts.find_email("Alice@EXAMPLE.org").email == ALICE
    with pytest.raises(NotFound):
        served.accounts.find_email("nobody@example.org")


@pytest.mark.parametrize(
    "email", ["", "alice", "@", "a@", "@b", "a b@c", "a@b\nc", "a@b\0", "a@b\u202e", "x" * 250 + "@b.org", "a\t@b"]
)
def test_what_is_no_address_is_refused(served: Served, email: str):
    with pytest.raises(InvalidKey):
        served.accounts.create(email)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_passwords_have_a_length(served: Served, password: str):
    with pytest.raises(InvalidKey):
        served.accounts.create("new@example.org", password=password)


def test_there_is_always_an_administrator(served: Served):
    for change in (served.accounts.revoke_admin, served.accounts.deactivate):
        with pytest.raises(Blocked):
            change(ADMIN)
    served.accounts.grant_admin(BOB)
    assert not served.accounts.revoke_admin(ADMIN).is_admin


def test_proxies_are_believed_only_if_they_are_named(tmp_path):
    """Guessing from many addresses is easy where anybody may say where they come from."""
    with make_hold(tmp_path) as hold, running(hold, tmp_path) as served:
        add_people(served)
        statuses = [
            httpx.post(
                served.url + "/sign-in", data={"email": ALICE, "password": "wrong"},
                headers={"X-Forwarded-For": f"10.0.0.{at}"},
            ).status_code
            for at in range(12)
        ]  # fmt: skip
    assert 429 in statuses
    (tmp_path / "b").mkdir()
    with make_hold(tmp_path / "b") as hold:
        settings = ServerSettings(trusted_proxies=frozenset({"127.0.0.1"}))
        with running(hold, tmp_path / "b", settings) as served:
            add_people(served)
            statuses = [
                httpx.post(
                    served.url + "/sign-in", data={"email": ALICE, "password": "wrong"},
                    headers={"X-Forwarded-For": f"6.6.6.6, 10.0.0.{at}"},
                ).status_code
                for at in range(12)
            ]  # fmt: skip
    assert 429 not in statuses


def test_only_the_names_it_is_called_by(tmp_path):
    settings = ServerSettings(allowed_hosts=frozenset({"data.example.org"}))
    with make_hold(tmp_path) as hold, running(hold, tmp_path, settings) as served:
        assert httpx.get(served.url + "/healthz").status_code == 421
        assert httpx.get(served.url + "/healthz", headers={"Host": "data.example.org:99"}).status_code == 200


class Later(SystemClock):
    """The machine's clock, put forward."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * 1_000_000)
