#!/usr/bin/env python3
"""Requests to Carillon, with Python's own library alone.

Usage: carillon.py issue TYPE ONSET | status UUID | expire UUID | batch ONSET… | stats | certificate CODE

CARILLON_URL is https://host/t/authority; CARILLON_ADMIN_KEY, CARILLON_STATS_KEY and CARILLON_DEVICE_KEY are API keys.
"""
from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Refused(Exception):
    """An answer that is an error. code is for programs, the text for developers."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"status {status}: {text}" + (f" ({code})" if code else ""))
        self.status, self.code = status, code


@dataclass
class Issue:
    """A request for a code. Empty members mean that they are not there."""
    testType: str
    symptomDate: str = ""
    testDate: str = ""
    tzOffset: float = 0
    phone: str = ""
    uuid: str = ""
    externalIssuerID: str = ""


@dataclass
class Issued:
    uuid: str
    code: str
    expiresAtTimestamp: int
    longExpiresAtTimestamp: int = 0


@dataclass
class Status:
    claimed: bool
    expiresAtTimestamp: int
    longExpiresAtTimestamp: int


@dataclass
class Expired:
    uuid: str
    expiresAtTimestamp: int
    longExpiresAtTimestamp: int


@dataclass
class BatchCode:
    """A code, or why there is none."""
    uuid: str = ""
    code: str = ""
    error: str = ""
    errorCode: str = ""


@dataclass
class Day:
    date: str
    data: dict[str, Any]


@dataclass
class Verified:
    testtype: str
    token: str
    symptomDate: str = ""
    testDate: str = ""


@dataclass
class Certificate:
    certificate: str


@dataclass
class ExposureKey:
    """A key of a phone. Times are in ten minutes since 1970."""
    key: str
    rollingStartNumber: int
    rollingPeriod: int = 144
    transmissionRisk: int = 0


def read(kind: type[T], members: dict[str, Any]) -> T:
    """Takes the members that a type knows; answers may have more."""
    known = {f.name for f in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in members.items() if name in known})


def mac(secret: bytes, keys: list[ExposureKey]) -> str:
    """HMAC over exposure keys, in base64, for the certificate."""
    parts = sorted(f"{k.key}.{k.rollingStartNumber}.{k.rollingPeriod}.{k.transmissionRisk}" for k in keys)
    digest = hmac.new(secret, ",".join(parts).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


@dataclass
class Carillon:
    """One health authority. url has no trailing slash."""
    url: str
    admin_key: str = field(default="", repr=False)
    stats_key: str = field(default="", repr=False)
    device_key: str = field(default="", repr=False)

    def issue(self, request: Issue) -> Issued:
        return read(Issued, self._post("/api/issue", self.admin_key, dataclasses.asdict(request)))

    def status(self, uuid: str) -> Status:
        return read(Status, self._post("/api/checkcodestatus", self.admin_key, {"uuid": uuid}))

    def expire(self, uuid: str) -> Expired:
        return read(Expired, self._post("/api/expirecode", self.admin_key, {"uuid": uuid}))

    def batch(self, requests: list[Issue]) -> list[BatchCode]:
        """Each code succeeds or fails by itself, whatever the status is."""
        body = {"codes": [dataclasses.asdict(r) for r in requests]}
        status, answer = self._ask("POST", "/api/batch-issue", self.admin_key, body)
        if "codes" not in answer:
            raise refusal(status, answer)
        return [read(BatchCode, c) for c in answer["codes"]]

    def stats(self) -> list[Day]:
        status, answer = self._ask("GET", "/api/stats/realm.json", self.stats_key)
        if status != 200:
            raise refusal(status, answer)
        return [read(Day, d) for d in answer.get("statistics", [])]

    def verify(self, code: str) -> Verified:
        accept = ["confirmed", "likely", "negative", "user-report"]
        return read(Verified, self._post("/api/verify", self.device_key, {"code": code, "accept": accept}))

    def certificate(self, token: str, ekeyhmac: str) -> Certificate:
        return read(Certificate, self._post("/api/certificate", self.device_key, {"token": token, "ekeyhmac": ekeyhmac}))

    def _post(self, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        # Padding hides from the network what a request is about.
        padding = base64.b64encode(secrets.token_bytes(1024)).decode()
        status, answer = self._ask("POST", path, key, {**body, "padding": padding})
        if status != 200:
            raise refusal(status, answer)
        return answer

    def _ask(self, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": key, "Content-Type": "application/json", "Accept": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            try:
                return error.code, json.loads(text)
            except ValueError:  # too many requests, and what no handler answered
                return error.code, {"error": text.strip()}


def refusal(status: int, answer: dict[str, Any]) -> Refused:
    return Refused(status, answer.get("errorCode", ""), answer.get("error", ""))


def run(args: list[str]) -> Any:
    carillon = Carillon(
        os.environ["CARILLON_URL"], os.environ.get("CARILLON_ADMIN_KEY", ""),
        os.environ.get("CARILLON_STATS_KEY", ""), os.environ.get("CARILLON_DEVICE_KEY", ""))
    match args:
        case ["issue", test_type, onset]:
            return carillon.issue(Issue(testType=test_type, symptomDate=onset))
        case ["status", uuid]:
            return carillon.status(uuid)
        case ["expire", uuid]:
            return carillon.expire(uuid)
        case ["batch", *onsets] if onsets:
            return carillon.batch([Issue(testType="confirmed", symptomDate=onset) for onset in onsets])
        case ["stats"]:
            return carillon.stats()
        case ["certificate", code]:
            today = int(time.time()) // 600 // 144 * 144
            keys = [ExposureKey(base64.b64encode(secrets.token_bytes(16)).decode(), today - 144)]
            return carillon.certificate(carillon.verify(code).token, mac(secrets.token_bytes(16), keys))
    sys.exit(__doc__)


def plain(value: Any) -> Any:
    return [plain(v) for v in value] if isinstance(value, list) else dataclasses.asdict(value)


if __name__ == "__main__":
    try:
        print(json.dumps(plain(run(sys.argv[1:])), indent=2))
    except Refused as refused:
        sys.exit(str(refused))
