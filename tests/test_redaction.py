"""Keys do not show, are noticed, and are taken out."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import time
from urllib.parse import quote, quote_plus

import pytest

from claude_force_nb.redaction import MASK, Redactor, Secret, looks_secret

pytestmark = pytest.mark.essential

KEY = "sk-ant-api03-Zq8/x+Y2 wv7KpLm4"

# Put together here, so that no scanner takes this file for a leak.
SHAPED = {
    "Anthropic key": "sk-ant-" + "api03-Zq8x7Yw2v7KpLm4R",
    "OpenAI key": "sk-" + "proj-Zq8x7Yw2v7KpLm4RtU9s",
    "AWS access key": "AKIA" + "Z7QW3ERT5YUI9OPA",
    "GitHub token": "ghp_" + "Zq8x7Yw2v7KpLm4RtU9sB3nC5vX1zA6dF0gH",
    "GitLab token": "glpat-" + "Zq8x7Yw2v7KpLm4RtU9s",
    "Slack token": "xoxb-" + "123456789012-abcDEF123",
    "Google key": "AIza" + "Zq8x7Yw2v7KpLm4RtU9sB3nC5vX1zA6dF0g",
    "Hugging Face token": "hf_" + "ZqxYwvKpLmRtUsBnCvXzAdFgHjKlQwErTy",
    "Stripe key": "sk_" + "live_Zq8x7Yw2v7KpLm4R",
    "PyPI token": "pypi-" + "Zq8x7Yw2v7KpLm4R" * 4,
    "JSON web token": "eyJhbGciOiJI" + ".eyJzdWIiOiIx.SflKxwRJSMeK",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEAzq8x7Yw2",
    "URL with a password": "postgres://ada:" + "l0velace@db.example.org/x",
    "bearer token": "Authorization: " + "Bearer Zq8x7Yw2v7KpLm4R",
    "assigned password or token": "password" + ' = "Tr0ub4dor&3"',
}


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{0!r:>4}".format])
def test_secret_shows_mask(show):
    """A secret shows four stars however it is printed."""
    assert show(Secret(KEY)) == MASK


def test_secret_reveals():
    """The key is there for whoever asks for it."""
    assert Secret(KEY).reveal() == KEY


def test_secret_without_vars():
    """A secret has no dictionary that a debugger or logger would print."""
    assert not hasattr(Secret(KEY), "__dict__")


@pytest.mark.parametrize("holder", [Secret(KEY), Redactor([KEY])])
def test_holders_refuse_pickling(holder):
    """Neither a secret nor a redactor can be written by pickle."""
    with pytest.raises(TypeError):
        pickle.dumps(holder)


def test_secret_survives_copying():
    """Copying a structure with a secret in it, as dataclasses do, keeps the secret."""
    secret = Secret(KEY)

    assert copy.deepcopy({"key": secret})["key"] is copy.copy(secret)


def test_secret_compares_by_value():
    """Secrets are equal when their keys are, and never equal to the bare text."""
    assert Secret(KEY) == Secret(KEY)
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY


@pytest.mark.parametrize(("value", "truth"), [("", False), (KEY, True)])
def test_secret_truth(value, truth):
    """An empty secret is false."""
    assert bool(Secret(value)) is truth


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY, safe=""),
        quote(KEY),
        quote_plus(KEY),
        quote(KEY, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
        KEY.encode().hex(),
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
    ],
)
def test_redactor_masks_form(form):
    """A key is masked as it is and in each form that it takes on the wire."""
    assert Redactor([Secret(KEY)]).redact(f"k={form}&x=1") == f"k={MASK}&x=1"


@pytest.mark.parametrize("before", [b"", b"u", b"u:", b"us:", b"usr:"])
@pytest.mark.parametrize("after", [b"", b"!", b"!!"])
def test_redactor_masks_inner_base64(before, after):
    """Inside a larger base64 value only the characters that a key shares with others stay."""
    shown = Redactor([KEY]).redact(base64.b64encode(before + KEY.encode() + after).decode())

    assert MASK in shown
    assert len(shown.replace(MASK, "")) <= 4 * (len(before) + len(after) + 2) / 3 + 4


def test_redactor_masks_escaped_characters():
    """A key with quotes and umlauts is masked inside JSON of both spellings."""
    key = 'pass"wörd\\1'
    redactor = Redactor([key])

    assert redactor.redact(json.dumps([key])) == f'["{MASK}"]'
    assert redactor.redact(json.dumps([key], ensure_ascii=False)) == f'["{MASK}"]'


def test_redactor_prefers_longer_key():
    """Of two keys where one begins the other, nothing of the longer one is left."""
    assert Redactor(["abcd", "abcdefgh"]).redact("<abcdefgh>") == f"<{MASK}>"


@pytest.mark.parametrize("secrets", [[], [""], ["abc"]])
def test_redactor_ignores_short_keys(secrets):
    """Without a key of some length, text stays as it is."""
    assert Redactor(secrets).redact("abc def") == "abc def"


@pytest.mark.parametrize(("kind", "text"), SHAPED.items())
def test_notices_shape(kind, text):
    """A key of a known shape is noticed within other text, and its kind is named."""
    assert looks_secret(f'x = "1"\n{text} and more') == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Review this function, worst problem first.",
        "token: Optional[str] = None",
        "api_key = os.environ['ANTHROPIC_API_KEY']",
        "api_key=settings.providers2.api_key",
        "token = token_type_2_ids",
        "secret = getUserTokenFromSession",
        'api_key="your-api-key-goes-here1"',
        "password: <your password here>",
        "ANTHROPIC_API_KEY=sk-ant-xxxxxxxxxxxxxxxxxxxxxxxx",
        'parser.add_argument("--token", default="gpt2-large-v1")',
        '{"token": "Washington", "pos": "NNP"}',
        "https://example.org:8080/path@2x.png",
        "postgres://user:${PASSWORD}@host/db",
        "sk-learn-contrib-imbalanced-ensemble-methods",
        '"-----BEGIN PRIVATE KEY-----" in text',
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 544e924eba21c119467c8ba5d15f2f49a770bbfc",
    ],
)
def test_passes_harmless_text(text):
    """Prose, digests, placeholders and code that handles keys are no secrets."""
    assert looks_secret(text) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "abcdefgh"),
        ("OPENAI_API_KEY", "plain words"),
        ("dbPassword", "correct horse battery staple"),
        ("password_prod", "hunter2"),
        ("client_secret", "s3cr"),
        ("token", "a8f7d6e5c4b3"),
        ("signing_key", "abcdefgh"),
    ],
)
def test_notices_name(name, value):
    """A short value in a variable named like a secret is one."""
    assert looks_secret(value, name=name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", ""),
        ("api_key", "changeme"),
        ("password", "<hidden>"),
        ("token", "Washington"),
        ("key", "species_name"),
        ("password_policy", "At least 12 characters"),
        ("password", "def check(password):\n    return len(password) > 8"),
        ("tokenizer", "bert-base-uncased-v2b1"),
        ("monkey", "a8f7d6e5c4b3"),
    ],
)
def test_passes_harmless_name(name, value):
    """Placeholders, words, code and names that only resemble a secret's pass."""
    assert looks_secret(value, name=name) is None


@pytest.mark.parametrize(
    "unit",
    ["eyJ", "password=", "a://", "://a:b", "-----BEGIN ", "sk-", "token:", "eyJaaaaaaaaa.", " "],
)
def test_notices_in_linear_time(unit):
    """Text made to send a search astray takes no longer than its length explains."""
    started = time.process_time()
    looks_secret("token " + unit * (400_000 // len(unit)))

    assert time.process_time() - started < 5
