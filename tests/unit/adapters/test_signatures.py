"""Standard Webhooks signatures, against the library that the other side uses."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from adapters.signatures import StandardWebhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"text":"退款多久到账？"}'


def signed(
    body: str = BODY, *, secret: str = SECRET, age: timedelta = timedelta(0)
) -> dict[str, str]:
    then = datetime.now(UTC) - age
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(then.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", then, body),
    }


def fault(headers: Mapping[str, str], body: bytes = BODY.encode()) -> str | None:
    return StandardWebhook(SECRET).fault(headers, body)


def test_request_signed_by_the_library_is_trusted() -> None:
    assert fault(signed()) is None


def test_library_trusts_our_signature() -> None:
    headers = StandardWebhook(SECRET).headers("msg_7", BODY, datetime.now(UTC))
    assert Webhook(SECRET).verify(BODY, headers) == {"text": "退款多久到账？"}


def test_example_of_the_spec_is_signed_as_the_spec_says() -> None:
    headers = StandardWebhook(SECRET).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        '{"test": 2432232314}',
        datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_wrong_secret_is_refused() -> None:
    assert fault(signed(secret=OTHER)) == "No matching signature found"


@pytest.mark.parametrize("tampered", [BODY + " ", BODY.replace("退", "追"), "", "{}"])
def test_tampered_body_is_refused(tampered: str) -> None:
    assert fault(signed(), tampered.encode()) == "No matching signature found"


def test_tampered_id_is_refused() -> None:
    assert fault(signed() | {"webhook-id": "msg_2"}) == "No matching signature found"


@pytest.mark.parametrize("seconds", [-290, 290])
def test_timestamp_within_five_minutes_is_trusted(seconds: int) -> None:
    assert fault(signed(age=timedelta(seconds=seconds))) is None


def test_old_timestamp_is_refused() -> None:
    assert fault(signed(age=timedelta(seconds=310))) == "Message timestamp too old"


def test_early_timestamp_is_refused() -> None:
    assert fault(signed(age=timedelta(seconds=-310))) == "Message timestamp too new"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_refused(name: str) -> None:
    headers = signed()
    del headers[name]
    assert fault(headers) == "Missing required headers"


@pytest.mark.parametrize("timestamp", ["soon", "nan", "inf", "1e400", "-1", "٣"])
def test_timestamp_that_is_no_time_is_refused(timestamp: str) -> None:
    assert fault(signed() | {"webhook-timestamp": timestamp}) is not None


@pytest.mark.parametrize(
    "signature",
    ["v1", "v1,", "v1,a,b", "v1,%%%", "v1,é", "v2,abcd", ",", " ", "v1a,abcd", "\ud800"],
)
def test_malformed_signature_is_refused(signature: str) -> None:
    assert fault(signed() | {"webhook-signature": signature}) is not None


def test_one_of_several_signatures_is_enough() -> None:
    # While a secret is rotated the sender signs with the old and the new one.
    both = f"{signed(secret=OTHER)['webhook-signature']} {signed()['webhook-signature']}"
    assert fault(signed() | {"webhook-signature": both}) is None


def test_several_wrong_signatures_are_refused() -> None:
    wrong = signed(secret=OTHER)["webhook-signature"]
    assert fault(signed() | {"webhook-signature": f"{wrong} {wrong}"}) is not None


def test_signature_of_a_newer_version_beside_ours_is_passed_over() -> None:
    both = f"v1a,AAAA {signed()['webhook-signature']}"
    assert fault(signed() | {"webhook-signature": both}) is None


def _signed_bytes(body: bytes) -> dict[str, str]:
    headers = signed()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    content = f"msg_1.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return headers | {"webhook-signature": f"v1,{digest}"}


@pytest.mark.parametrize("body", ["退款".encode("gbk"), b"\xff\xfe", b'{"text":"\x80"}'])
def test_signature_over_bytes_that_are_not_utf8_is_checked_too(body: bytes) -> None:
    assert fault(_signed_bytes(body), body) is None
    assert fault(_signed_bytes(body), body + b"\xff") == "No matching signature found"


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_a b", "whsec_ab-_cd", "whsec_a", "x"],
)
def test_malformed_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|base64") as raised:
        StandardWebhook(secret)
    assert "MfKQ" not in str(raised.value)


def test_secret_without_padding_is_the_same_secret() -> None:
    headers = StandardWebhook("whsec_c2VjcmV0IQ").headers("a", BODY, datetime.now(UTC))
    assert StandardWebhook("whsec_c2VjcmV0IQ==").fault(headers, BODY.encode()) is None
