"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a developer may have at hand and the project does not carry."""
    parser.addoption(
        "--twilio-openapi",
        metavar="PATH",
        help="Twilio's description of its API (twilio/twilio-oai, twilio_api_v2010.json); requests are then held against it",
    )
