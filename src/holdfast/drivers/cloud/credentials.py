"""Where the keys for S3 come from: the document, the environment, a credentials file, the machine's role.

Asked at first use, in this order, and again when they are about to expire. Kept in memory only. A web identity (a pod's
service account) is left to obstore: then `keys` says None, and what needs our own signature is not supported.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from holdfast.drivers.cloud.settings import DEFAULT_REGION, CloudSettings
from holdfast.drivers.cloud.signing import AwsKeys
from holdfast.seams import Clock

_INSTANCE = "http://169.254.169.254"
_CONTAINER = "http://169.254.170.2"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ASK_S = 2.0
_RENEW_BEFORE_US = 300 * 1_000_000
_READ_AGAIN_US = 900 * 1_000_000  # a file may have been written anew


class CredentialChain:
    """The keys of one bucket. Safe from many threads: whoever comes first asks, twice at worst."""

    def __init__(self, settings: CloudSettings, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._environ = os.environ if environ is None else environ
        self._keys: AwsKeys | None = None

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        own = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        return self._settings.region or own or DEFAULT_REGION

    @property
    def typed(self) -> AwsKeys | None:
        """The keys of the document, which stay."""
        settings = self._settings
        if settings.access_key and settings.secret_key:
            return AwsKeys(settings.access_key, settings.secret_key, settings.session_token)
        return None

    @property
    def web_identity(self) -> bool:
        """Whether obstore has to find the keys itself."""
        return self.typed is None and bool(self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"))

    def keys(self) -> AwsKeys | None:
        """Keys that are good for some minutes at least; None if there are none."""
        keys = self._keys
        now_us = self._clock.now_us()
        if keys is None or (keys.expires_us is not None and now_us > keys.expires_us - _RENEW_BEFORE_US):
            keys = self._keys = self._find(now_us)
        return keys

    def for_obstore(self) -> dict[str, object]:
        """The same, as obstore's `credential_provider` wants it. Raises if there are none."""
        keys = self.keys()
        if keys is None:
            raise LookupError("no credentials were found")
        expires = None if keys.expires_us is None else datetime.fromtimestamp(keys.expires_us / 1e6).astimezone()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.session_token,
            "expires_at": expires,
        }

    # -- inside -------------------------------------------------------------------------------------------

    def _find(self, now_us: int) -> AwsKeys | None:
        if self.typed is not None:
            return self.typed
        if not (self._settings.profile or self._settings.credentials_file):
            environ = self._environ
            access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
            if access_key and secret_key:
                return AwsKeys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None)
        return self._from_file(now_us) or (None if self.web_identity else self._from_role())

    def _from_file(self, now_us: int) -> AwsKeys | None:
        path = self._settings.credentials_file or self._environ.get("AWS_SHARED_CREDENTIALS_FILE")
        profile = self._settings.profile or self._environ.get("AWS_PROFILE") or "default"
        found = configparser.RawConfigParser()
        try:
            found.read(os.path.expanduser(path or "~/.aws/credentials"), encoding="utf-8")
            section = found[profile]
            access_key, secret_key = section["aws_access_key_id"], section["aws_secret_access_key"]
        except (configparser.Error, KeyError, UnicodeDecodeError):
            return None
        return AwsKeys(access_key, secret_key, section.get("aws_session_token"), now_us + _READ_AGAIN_US)

    def _from_role(self) -> AwsKeys | None:
        """What a container or an instance of Amazon's is allowed to be."""
        import httpx

        environ = self._environ
        full, relative = (environ.get(f"AWS_CONTAINER_CREDENTIALS_{which}_URI") for which in ("FULL", "RELATIVE"))
        try:
            with httpx.Client(timeout=_ASK_S, trust_env=False) as client:
                if full or relative:
                    headers = {"Authorization": token} if (token := self._container_token()) else {}
                    answer = client.get(full or f"{_CONTAINER}{relative}", headers=headers)
                elif environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
                    return None
                else:
                    wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "600"}
                    session = client.put(f"{_INSTANCE}/latest/api/token", headers=wanted)
                    session.raise_for_status()
                    headers = {"X-aws-ec2-metadata-token": session.text}
                    role = client.get(_INSTANCE + _ROLES, headers=headers)
                    role.raise_for_status()
                    answer = client.get(_INSTANCE + _ROLES + role.text.split("\n")[0], headers=headers)
                answer.raise_for_status()
                return _parsed(answer.json())
        except (httpx.HTTPError, json.JSONDecodeError, KeyError, TypeError, ValueError, OSError):
            return None

    def _container_token(self) -> str | None:
        path = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        if path:
            with open(path, encoding="ascii") as stream:
                return stream.read(10_000).strip()
        return self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")


def _parsed(found: Any) -> AwsKeys:
    expires = datetime.fromisoformat(found["Expiration"])
    token = found.get("Token") or None
    return AwsKeys(found["AccessKeyId"], found["SecretAccessKey"], token, int(expires.timestamp() * 1e6))
