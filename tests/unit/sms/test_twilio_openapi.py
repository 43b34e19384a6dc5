"""Requests held against a description in the shape of Twilio's."""

import pytest

from sms.testing.twilio_openapi import Description

ACCOUNT = "AC" + "a" * 32
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
SID = {"type": "string", "minLength": 34, "maxLength": 34, "pattern": "^AC[0-9a-fA-F]{32}$"}
ITEM = {
    "post": {
        "operationId": "CreateMessage",
        "parameters": [{"name": "AccountSid", "in": "path", "schema": SID, "required": True}],
        "requestBody": {
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "properties": {
                            "To": {"type": "string", "format": "phone-number"},
                            "From": {"type": "string", "format": "phone-number"},
                            "MessagingServiceSid": {"type": "string", "pattern": "^MG"},
                            "Body": {"type": "string"},
                            "MediaUrl": {"type": "array", "items": {"type": "string", "format": "uri"}},
                            "ValidityPeriod": {"type": "integer"},
                            "MaxPrice": {"type": "number"},
                            "SmartEncoded": {"type": "boolean"},
                            "SendAt": {"type": "string", "format": "date-time"},
                            "RiskCheck": {"$ref": "#/components/schemas/risk"},
                        },
                        "required": ["To"],
                    }
                }
            }
        },
    },
    "get": {
        "parameters": [
            {"name": "PageSize", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
            {"name": "To", "in": "query", "schema": {"type": "string"}, "required": True},
        ]
    },
}
DESCRIPTION = Description(
    {
        "paths": {"/2010-04-01/Accounts/{AccountSid}/Messages.json": ITEM},
        "components": {"schemas": {"risk": {"type": "string", "enum": ["enable", "disable"]}}},
    }
)
GOOD = [("To", "+15550100123"), ("From", "+15550100200"), ("Body", "hi")]
MEDIA = "https://example.com/1.png"


@pytest.mark.parametrize(
    "extra",
    [
        [],
        [("MediaUrl", MEDIA), ("MediaUrl", "https://example.com/2.png")],
        [("ValidityPeriod", "36000"), ("SmartEncoded", "true"), ("MaxPrice", "0.5"), ("RiskCheck", "enable")],
    ],
)
def test_sound_requests(extra: list[tuple[str, str]]) -> None:
    """A request that keeps to the description has no problems."""
    assert DESCRIPTION.problems("POST", PATH, GOOD + extra) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (GOOD[1:], "To is missing"),
        ([*GOOD, ("StatusCallBack", "http://x")], "StatusCallBack does not exist"),
        ([*GOOD, ("Body", "again")], "Body is there 2 times"),
        ([("To", "banana"), *GOOD[1:]], "To is not an E.164 number: 'banana'"),
        ([GOOD[0], GOOD[2]], "neither From nor MessagingServiceSid"),
        (GOOD[:2], "neither Body nor MediaUrl nor ContentSid"),
        ([*GOOD[:2], ("Body", "x" * 1601)], "Body is longer than 1600 characters"),
        ([*GOOD, *[("MediaUrl", MEDIA)] * 11], "more than 10 of MediaUrl"),
        ([*GOOD, ("MediaUrl", MEDIA), ("MediaUrl", "2.png")], "MediaUrl is not an address: '2.png'"),
        ([*GOOD, ("ValidityPeriod", "soon")], "ValidityPeriod is not an integer: 'soon'"),
        ([*GOOD, ("ValidityPeriod", "0")], "ValidityPeriod is not between 1 and 36000"),
        ([*GOOD, ("SmartEncoded", "True")], "SmartEncoded is neither true nor false: 'True'"),
        ([*GOOD, ("MaxPrice", "x")], "MaxPrice is not a number: 'x'"),
        ([*GOOD, ("RiskCheck", "maybe")], "RiskCheck is not one of enable, disable: 'maybe'"),
        ([*GOOD, ("MessagingServiceSid", "XX")], "MessagingServiceSid does not match ^MG: 'XX'"),
        ([*GOOD, ("SendAt", "2026-11-22T00:00:00Z")], "SendAt without ScheduleType and MessagingServiceSid"),
    ],
)
def test_each_fault_is_named(fields: list[tuple[str, str]], problem: str) -> None:
    """Each way to get a form wrong is found, and named."""
    assert DESCRIPTION.problems("POST", PATH, fields) == [problem]


def test_queries_and_paths() -> None:
    """Queries are judged like forms, an account by its pattern, and an address that does not exist is no address."""
    assert DESCRIPTION.problems("GET", PATH, [("To", "+15550100123"), ("PageSize", "50")]) == []
    assert DESCRIPTION.problems("GET", PATH, [("PageSize", "1001")]) == ["To is missing", "PageSize is out of range: '1001'"]
    assert len(DESCRIPTION.problems("POST", PATH.replace(ACCOUNT, "AC1"), GOOD)) == 2
    assert DESCRIPTION.problems("DELETE", PATH, []) == [f"there is no DELETE {PATH}"]
    assert DESCRIPTION.problems("GET", "/elsewhere", []) == ["there is no GET /elsewhere"]
