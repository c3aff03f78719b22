"""What talks to the server, made at first use and once per process. Used by the cloud driver alone.

After a fork the child makes everything anew. obstore's own retries are off: retrying is the business of one layer,
which counts and waits as the server asks.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from holdfast.drivers.cloud.credentials import CredentialChain
from holdfast.drivers.cloud.errors import Answer, read_answer, translate
from holdfast.drivers.cloud.native import obstore_here
from holdfast.drivers.cloud.settings import CloudSettings
from holdfast.errors import HoldfastError, StoreError
from holdfast.seams import Clock

if TYPE_CHECKING:
    import httpx

    from holdfast.drivers.cloud.requests import Requests

READ_THREADS_MAX = 16  # for all readers of one pool in one process
PAUSE_ASKED_EVERY_S = 1.0
RANGES_AGAIN_S = 300.0

T = TypeVar("T")


class Clients:
    """Gives the clients of this process. `forget` drops them; the next use makes others."""

    def __init__(self, name: str, settings: CloudSettings, clock: Clock) -> None:
        self.name, self.settings, self.clock = name, settings, clock
        self.credentials = CredentialChain(settings, clock)
        self._of: dict[int, ProcessClients] = {}

    def here(self) -> ProcessClients:
        """Those of this process. Touches nothing."""
        process_id = os.getpid()
        found = self._of.get(process_id)
        return found if found is not None else self._of.setdefault(process_id, ProcessClients(self))

    def forget(self) -> None:
        """Give back threads and connections, when whoever uses them is done."""
        found = self._of.pop(os.getpid(), None)
        if found is not None:
            found.close()

    @contextlib.contextmanager
    def asking(self, key: str, operation: str) -> Iterator[None]:
        """What goes wrong inside becomes an error of ours. What was ours already passes."""
        try:
            yield
        except HoldfastError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
            self.fail(read_answer(error), key, operation)

    def fail(self, answer: Answer, key: str, operation: str) -> NoReturn:
        """Raise the error that this answer means."""
        raise self.error(answer, key, operation) from None  # the cause may repeat what was signed

    def error(self, answer: Answer, key: str, operation: str) -> StoreError:
        """The error that this answer means."""
        pause_s = answer.retry_after_s
        if pause_s is None and answer.throttled:
            pause_s = self.here().asked_pause_s()
        return translate(
            answer, place=self.settings.place, store=self.name, key=key, operation=operation, retry_after_s=pause_s
        )


class ProcessClients:
    """One process's obstore, its client, its connection for other requests, its reading threads; and what it learned.

    `proved_s`: when the bucket last showed its mark (monotonic). `wrong`: why it was
    not believed at `wrong_s`. `conditions`:
    whether it obeys If-None-Match. `md5_tags`: whether its ETags are MD5s. `ranges_ignored_s`:
    when it answered a range with the whole (monotonic).
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.lock = threading.Lock()
        self.proved_s: float | None = None
        self.wrong: StoreError | None = None
        self.wrong_s = 0.0
        self.conditions: bool | None = None
        self.md5_tags = True
        self.ranges_ignored_s: float | None = None
        self._pause_asked_s: float | None = None
        self._making = threading.Lock()
        self._store: Any = None
        self._threads: ThreadPoolExecutor | None = None

    @cached_property
    def obstore(self) -> Any:
        """The native module."""
        return obstore_here()

    @property
    def store(self) -> Any:
        """obstore's client."""
        if self._store is None:
            with self._making:
                if self._store is None:
                    self._store = _make_store(self.obstore, self._clients.settings, self._clients.credentials)
        return self._store

    @cached_property
    def http(self) -> httpx.Client:
        """Connections for requests of our own. They are closed also when nobody knows them any more."""
        import httpx

        settings = self._clients.settings
        timeout = httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s)
        client = httpx.Client(timeout=timeout, verify=settings.validate_certs)
        weakref.finalize(self, client.close)
        return client

    @cached_property
    def requests(self) -> Requests:
        """For what obstore does not know (S3 only)."""
        from holdfast.drivers.cloud.requests import Requests

        return Requests(self._clients.settings, self._clients.credentials, self._clients.clock, self.http)

    @property
    def ranges(self) -> bool:
        """Whether ranges are asked for: not for some minutes after one was ignored."""
        ignored_s = self.ranges_ignored_s
        return ignored_s is None or self._clients.clock.monotonic_s() - ignored_s > RANGES_AGAIN_S

    def ranges_were_ignored(self) -> None:
        """It answered a range with the whole."""
        self.ranges_ignored_s = self._clients.clock.monotonic_s()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run it on a reading thread; here and now where those have been given back."""
        with self._making:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(READ_THREADS_MAX, thread_name_prefix="holdfast-read")
            threads = self._threads
        try:
            return threads.submit(work)
        except RuntimeError:
            done: Future[T] = Future()
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
                done.set_exception(error)
            return done

    def asked_pause_s(self) -> float | None:
        """How long a server that is overloaded wants us to wait. obstore does not tell its Retry-After: so one light
        request asks for it, at most once a second."""
        now_s = self._clients.clock.monotonic_s()
        if self._clients.settings.service != "s3":
            return None
        if self._pause_asked_s is not None and now_s - self._pause_asked_s < PAUSE_ASKED_EVERY_S:
            return None
        self._pause_asked_s = now_s
        return self.requests.pause_s()

    def close(self) -> None:
        """Threads end when their work does; connections when nobody uses them."""
        with self._making:
            threads, self._threads = self._threads, None
            self._store = None
        if threads is not None:
            threads.shutdown(wait=False)
        self.__dict__.pop("requests", None)
        http = self.__dict__.pop("http", None)
        if http is not None:
            http.close()


def _make_store(obstore: Any, settings: CloudSettings, credentials: CredentialChain) -> Any:
    options: dict[str, Any] = {
        "allow_http": True,
        "allow_invalid_certificates": not settings.validate_certs,
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "read_timeout": timedelta(seconds=settings.read_timeout_s),
        "timeout": timedelta(seconds=settings.timeout_s),
        "user_agent": "holdfast",
    }
    retries = {"max_retries": 0, "retry_timeout": timedelta(0)}
    if settings.service == "azure":
        return obstore._store.AzureStore(  # noqa: SLF001 - the module's own name for its classes
            settings.bucket, config=_azure(settings), client_options=options, retry_config=retries
        )
    if settings.service == "google":
        return obstore._store.GCSStore(  # noqa: SLF001
            settings.bucket, config=_google(settings), client_options=options, retry_config=retries
        )
    config: dict[str, Any] = {
        "region": credentials.region,
        "endpoint": settings.endpoint,
        "virtual_hosted_style_request": settings.virtual_hosted,
        "unsigned_payload": settings.unsigned_payload,
        "checksum_algorithm": settings.checksum,
        "disable_bulk_delete": True,
        "disable_tagging": True,
    }
    keys = credentials.typed
    if keys is not None:
        config["access_key_id"], config["secret_access_key"] = keys.access_key, keys.secret_key
        config["session_token"] = keys.session_token
    found_by_itself = keys is not None or credentials.web_identity
    provider = None if found_by_itself else credentials.for_obstore
    return obstore._store.S3Store(  # noqa: SLF001
        settings.bucket, config=_given(config), client_options=options, retry_config=retries,
        credential_provider=provider,
    )  # fmt: skip


def _azure(settings: CloudSettings) -> dict[str, Any]:
    return _given(
        {
            "account_name": settings.account_name,
            "account_key": settings.account_key,
            "tenant_id": settings.tenant_id,
            "client_id": settings.client_id,
            "client_secret": settings.client_secret,
            "token": settings.access_token,
            "endpoint": settings.endpoint,
            "disable_tagging": True,
        }
    )


def _google(settings: CloudSettings) -> dict[str, Any]:
    return _given(
        {
            "service_account": settings.credentials_file,
            "bearer_token": settings.access_token,
            "base_url": settings.endpoint,
        }
    )


def _given(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value is not None}
