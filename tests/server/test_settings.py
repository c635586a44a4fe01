"""Settings: from the command line, from the environment, and what is said where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.settings import Address, Settings, UsageError, parse, without_password

ROOT = Path(__file__).parents[2]
RULES = str(ROOT / "rules")


def test_the_command_line_goes_before_the_environment() -> None:
    environment = {"TACT_LISTEN": "0.0.0.0:1", "TACT_WORKERS": "3", "TACT_RULES": RULES, "TACT_SECRET": "s"}
    settings = parse(["--listen", "[::1]:0"], environment)
    assert settings == Settings(listen=Address("::1", 0), rules=Path(RULES), workers=3, secret=b"s")
    assert str(settings.listen) == "[::1]:0"


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert parse([], {"TACT_REDIS": ""}) == Settings()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "50051"], "--listen: found '50051', expected HOST:PORT, such as 127.0.0.1:50051"),
        (["--listen", "::1:5"], "--listen: found '::1:5', expected HOST:PORT with an IPv6 address in brackets"),
        (["--listen", "a:70000"], "--listen: found 'a:70000', expected HOST:PORT"),
        (["--workers", "0"], "--workers: found '0', expected a whole number from 1 to 256"),
        (["--redis", "localhost"], "--redis: found 'localhost', expected an address that begins with redis://"),
        (["--audit", "no"], "--audit: found 'no', expected one of require, best-effort"),
        (["--transport", "http3"], "--transport: found 'http3', expected one of http2, grpcio"),
        (["--tls-cert", "/nowhere"], "--tls-cert: found '/nowhere', expected a file that exists"),
        (["--tls-cert", __file__], "--tls-cert, --tls-key: expected both for TLS"),
        (["--tls-client-ca", __file__], "and --tls-client-ca only beside them"),
        (["--secret", "x" * 65], "--secret: found a longer one, expected at most 64 bytes"),
        (["--rules", "/nowhere"], "--rules: found '/nowhere', expected a directory that exists"),
        (["--port", "1"], "unrecognized arguments: --port 1; --help lists the settings"),
        (["--workers"], "argument --workers: expected one argument; --help lists the settings"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments, {} if "--rules" in arguments else {"TACT_RULES": RULES})
    assert said in str(caught.value)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["--workers", "x"], {"TACT_COMMIT_BUDGET_MS": "-1", "TACT_RULES": "/nowhere"})
    assert str(caught.value).splitlines() == [
        "TACT_RULES: found '/nowhere', expected a directory that exists",
        "--workers: found 'x', expected a whole number from 1 to 256",
        "TACT_COMMIT_BUDGET_MS: found '-1', expected a whole number from 10 to 60000",
    ]


def test_passwords_are_not_shown() -> None:
    assert without_password("redis://me:secret@host:1/2") == "redis://host:1/2"
    assert without_password("unix:///run/store.sock") == "unix:///run/store.sock"


def test_the_client_service_config_retries_what_is_safe() -> None:
    config = json.loads((ROOT / "docs" / "service_config.json").read_text())
    retried = [m for m in config["methodConfig"] if "retryPolicy" in m]
    assert [m["retryPolicy"]["retryableStatusCodes"] for m in retried] == [["UNAVAILABLE"]]
    assert config["retryThrottling"]["tokenRatio"] <= 0.1
