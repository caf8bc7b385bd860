"""Templates are filled once, and nothing in them or in a value is ever evaluated."""

from __future__ import annotations

import dataclasses
import doctest
import json
import re
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.canonical import canonical_json
from claude_force_nb.errors import PromptError, SecretInPrompt
from claude_force_nb.prompt import FILTERS, ValueLimits, render, variables_in
from claude_force_nb.redaction import looks_secret

pytestmark = pytest.mark.essential

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + b"\0\0\0\x4b\0\0\0\x14"
PAGE = Path(__file__).parents[1] / "docs" / "prompts.md"


class Client:
    """An object whose attributes hold a key."""

    api_key = "sk-live-key"

    def drop_all(self):
        """Fail: nothing of an object may run."""
        raise AssertionError("a method was called")

    __repr__ = __str__ = __len__ = __iter__ = __getitem__ = drop_all


class TestInsertion:
    """Tags are replaced by values, all else stays."""

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("", ""),
            ("no tags", "no tags"),
            ("{{ a }}", "A"),
            ("{{a}} and {{\n a\t}}", "A and A"),
            ("{{ ünï }}", "ü"),
            ("{{ ﬁ }}", "ligature"),
            ('{"a": {"b": {{ n }}}}', '{"a": {"b": 3}}'),
            ("\\frac{{{ n }}}{{{n}}}", "\\frac{3}{3}"),
            ("{{{{ n }}", "{{3"),
            ("{ n } }} {% if %} {# c #} ${n} $n %(n)s {n} {0}", None),
            ('{{ "{{" }} n }}', "{{ n }}"),
            ("{{ '{{' }}{{ '\"' }}", '{{"'),
            ('{{ "" }}', ""),
            ("a\r\nb {{ a }}\r\n", "a\r\nb A\r\n"),
        ],
    )
    def test_fills_template(self, template, text):
        """Only two opening braces begin a tag; all other characters are text."""
        variables = {"a": "A", "n": 3, "ünï": "ü", "fi": "ligature"}

        assert render(template, variables).content == (template if text is None else text)

    @given(st.text(), st.text(alphabet="{}% $|\"'an"))
    def test_inserts_to_the_letter(self, value, around):
        """Any text is inserted as it is, and what looks like a tag in it stays text."""
        around = around.replace("{{", "{ ").rstrip("{")
        value += "{{ n }}"
        rendered = render(f"{around}{{{{ v }}}}{around}", {"v": value}, allow_secrets=True)

        assert rendered.content == around + value + around

    @given(st.text(alphabet="{}|()., '\"=a1\n", max_size=30))
    def test_any_template_ends_well(self, template):
        """A template is either filled or refused with a place in it."""
        try:
            assert isinstance(render(template, {"a": "x", "a1": "y"}).content, str)
        except PromptError as error:
            assert re.search(r"\(line \d+, column \d+: ", str(error))

    def test_table_keeps_its_rows(self):
        """Text after a table begins on a line of its own."""
        text = render("See {{ t }} and go\n{{ t }}\nend", {"t": pd.DataFrame({"n": [1]})}).text

        assert "| 1 |\n and go\n" in text
        assert text.endswith("| 1 |\nend")

    def test_filters_follow_name(self):
        """A value goes through its filters from left to right."""
        frame = pd.DataFrame({"n": range(9)})

        assert render("{{ f|head( n = 2, )|csv }}", {"f": frame}).text == "n\n0\n1"

    def test_result_is_frozen(self):
        """A rendered prompt cannot be changed after it was checked."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            render("a", {}).content = "b"


class TestBlocks:
    """Images and documents become content blocks in the template's order."""

    def test_keeps_order(self):
        """Text and images alternate as they are written, without blank texts."""
        rendered = render("Look: {{ i }}\n{{ i }} and {{ n }}{{ n }}", {"i": PNG, "n": 3})

        assert [block["type"] for block in rendered.content] == ["text", "image", "image", "text"]
        assert (rendered.content[0]["text"], rendered.content[3]["text"]) == ("Look: ", " and 33")
        assert rendered.has_blocks and rendered.text == "Look:  and 33"

    def test_is_plain_json(self):
        """The blocks have canonical JSON, so that a request with them has a key."""
        content = render("Look: {{ i }}", {"i": PNG}).content

        assert json.loads(canonical_json(content))[1]["source"]["media_type"] == "image/png"

    def test_counts_image_tokens(self):
        """The estimate of a prompt includes its images."""
        assert render("abcd{{ i }}", {"i": PNG}).tokens_estimate == 1 + 2

    def test_text_stays_text(self):
        """Without blocks the content is a string."""
        assert not render("{{ n }}", {"n": 3}).has_blocks


class TestManifest:
    """The manifest says what was inserted."""

    def test_tells_name_size_and_digest(self):
        """Each insertion has its name, kind, note, size and digest."""
        (insertion,) = render("{{ a }}", {"a": "word " * 1000}).manifest

        assert (insertion.name, insertion.kind, insertion.size_chars) == ("a", "text", 5000)
        assert (insertion.note, insertion.tokens_estimate) == ("a text, ≈1.2k tokens", 1250)
        assert len(insertion.sha256) == 64

    def test_is_one_line(self):
        """The line joins all notes; a tag that is written twice is listed once."""
        frame = pd.DataFrame({"n": range(1204)})
        rendered = render("{{ n }}{{ df }}{{ n }}{{ df | columns }}", {"n": 3, "df": frame})

        assert rendered.manifest_line == (
            "n int, ≈1 token · df 1,204×1 → first 20 rows, ≈55 tokens"
            " · df 1,204×1 → columns, ≈3 tokens"
        )

    def test_is_empty_without_tags(self):
        """A prompt without values has no manifest."""
        assert render("text", {}).manifest_line == ""

    def test_digest_follows_value(self):
        """The digest changes exactly when the inserted form does."""
        digests = [render("{{ a }}", {"a": v}).manifest[0].sha256 for v in ("x", "y", "x")]

        assert digests[0] == digests[2] != digests[1]


class TestNames:
    """Only given names exist; attributes do not."""

    def test_lists_variables(self):
        """The names in a template are listed once, in order."""
        template = 'a {{ b | head(2) }} {{ steps.x-1.output }} {{ "{{" }} {{ b }} {{a}}'

        assert variables_in(template) == ["b", "steps.x-1.output", "a"]

    def test_suggests_near_name(self):
        """An unknown name is an error that suggests the nearest one and shows the place."""
        with pytest.raises(PromptError) as caught:
            render("first\n  use {{ sorce }} here", {"source": 1, "other": 2, "_sorce": 3})

        assert caught.value.what == (
            "There is no variable named sorce. (line 2, column 7: use {{ sorce }} here)"
        )
        assert caught.value.advice == "Did you mean source?"

    def test_namespace_holds_dotted_names(self):
        """A dotted name is one key of a namespace that was passed for it."""
        steps = {"steps": {"a": "A", "a.output": "out", "b-1": "B"}}
        template = "{{ steps.a }} {{ steps.a.output }} {{ steps.b-1 }}"

        assert render(template, {}, namespaces=steps).content == "A out B"

    @pytest.mark.parametrize(
        ("name", "advice"),
        [("steps.analyze", "steps.analyse?"), ("step.analyse", ""), ("steps.analyse.real", "")],
    )
    def test_namespace_is_strict(self, name, advice):
        """A dotted name that is no key is an error, even if a value has such an attribute."""
        with pytest.raises(PromptError) as caught:
            render(f"{{{{ {name} }}}}", {"step": 1}, namespaces={"steps": {"analyse": 1}})

        assert advice in caught.value.advice

    @pytest.mark.parametrize(
        "name",
        ["client.api_key", "client.__class__", "client.__init__.__globals__", "n.real", "d.a"],
    )
    def test_never_looks_up_attributes(self, name):
        """A dot after a variable is refused before the variable is touched."""
        with pytest.raises(PromptError, match="attributes are never looked up"):
            render(f"{{{{ {name} }}}}", {"client": Client(), "n": 1, "d": {"a": 1}})


class TestHostile:
    """Hostile templates and values neither run nor hang."""

    @pytest.mark.parametrize(
        "tag",
        [
            "''.__class__.__mro__",
            "cycler.__init__.__globals__.os.getcwd()",
            "client.drop_all()",
            "client['api_key']",
            "client|attr('api_key')",
            "client|head(client)",
            "'x' * 400000000",
            "'%900000000d' % 1",
            "n|head(99999999999999999999)",
            "n|head(1.5)",
            "n|head(-1)",
            "n|head('5')",
            "n|head(n=1, 2)",
            "n + n",
            "n if n else n",
            "n |",
            "n |head(",
            "n | head(1 2)",
            "n|head(n)",
            "- n -",
            "",
            "1",
            "{ n }",
            "'text' | head",
            "'{{ n }}",
            "set x = 1",
        ],
    )
    def test_refuses_everything_else(self, tag):
        """What is neither a name, a text nor a filter is an error that shows the way."""
        with pytest.raises(PromptError) as caught:
            render(f"{{{{ {tag} }}}}", {"n": 3, "client": Client()})

        assert caught.value.advice or "literal takes no filters" in caught.value.what
        assert Client.api_key not in str(caught.value)

    def test_hides_object(self):
        """An unknown object is refused without any of its methods being called."""
        with pytest.raises(PromptError, match="type Client has no form"):
            render("{{ client }}", {"client": Client()})

    @pytest.mark.parametrize(
        "template",
        [
            "{" * 1_000_000,
            "{{ " + " " * 1_000_000,
            "{{ " + "a" * 1_000_000 + " }}",
            "{{ " + "a." * 500_000 + " }}",
            "{{ '" + "x" * 1_000_000,
            "{{ n" + "|head" * 100_000 + " }}",
            "{{ n|head(" + "1," * 300_000 + ") }}",
            "{{ n" * 100_000,
            "{{ unknown" + "}" * 1_000_000,
        ],
        ids=lambda template: template[:9],
    )
    def test_refuses_in_linear_time(self, template):
        """A template made to hang the reader takes no longer than its length explains."""
        started = time.process_time()
        with pytest.raises(PromptError) as caught:
            render(template, {"n": 3, "unknow": 1})

        assert time.process_time() - started < 5
        assert len(caught.value.what) < 600_000

    def test_fills_many_tags_quickly(self):
        """A value that is written a hundred thousand times is read once."""
        started = time.process_time()
        text = render("{{ f }}\n" * 10_000, {"f": pd.DataFrame({"n": [1]})}).text

        assert time.process_time() - started < 5
        assert text.count("| 1 |") == 10_000

    @pytest.mark.parametrize("template", ["{{ a }}" * 50, "x" * 1_001])
    def test_bounds_prompt(self, template):
        """A prompt above its bound is refused, whether by its text or its values."""
        with pytest.raises(PromptError, match="more than 1,000 characters"):
            render(template, {"a": "y" * 100}, limits=ValueLimits(max_prompt_chars=1_000))

    def test_bounds_media(self):
        """Images that no request can carry together are refused."""
        with pytest.raises(PromptError, match="more than 100 bytes"):
            render(
                "{{ i }}{{ i }}{{ i }}{{ i }}", {"i": PNG}, limits=ValueLimits(max_media_bytes=100)
            )

    def test_translates_library_failure(self):
        """A library that fails on odd data is named by its error's type, not its message."""
        with pytest.raises(PromptError, match="reading it raised RuntimeError") as caught:
            render("{{ f }}", {"f": Unreadable({"a": [1]})})

        assert "detail" not in str(caught.value)

    def test_keeps_value_errors_placed(self):
        """An error about a value names the variable and its place."""
        with pytest.raises(PromptError, match=r"^x cannot be inserted\. Its value is None.*line 2"):
            render("a\n{{ x }}", {"x": None})


class Unreadable(pd.DataFrame):
    """A frame whose data manager is broken, as after a failed unpickling."""

    @property
    def _mgr(self):
        raise RuntimeError("secret detail")

    @_mgr.setter
    def _mgr(self, value):
        pass


class TestSecrets:
    """Values that look like keys stay here."""

    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("{{ api_key }}", "abcdefgh"),
            ("{{ note }}", "use ghp_" + "Zq8x7Yw2v7KpLm4RtU9sB3nC5vX1zA6dF0gH"),
            ("{{ config }}", {"db": {"password": "Tr0ub4dor&3"}}),
            ("{{ frame }}", pd.DataFrame({"a": ["AKIA" + "Z7QW3ERT5YUI9OPA"]})),
            ("{{ frame | csv }}", pd.DataFrame({"a": ["AKIA" + "Z7QW3ERT5YUI9OPA"]})),
            ("{{ db_password | head(1) }}", "hunter2hunter2"),
        ],
    )
    def test_refuses_by_name(self, template, value):
        """The error names the variable and never shows the value."""
        (name,) = variables_in(template)
        with pytest.raises(SecretInPrompt) as caught:
            render(template, {name: value})

        assert name in str(caught.value)
        assert looks_secret(str(caught.value)) is None

    def test_allows_on_demand(self):
        """Whoever means it can insert a secret."""
        assert render("{{ api_key }}", {"api_key": "abcdefgh"}, allow_secrets=True).text

    def test_searches_files(self, tmp_path):
        """A file with a key in it is refused by the name of its variable."""
        path = tmp_path / "settings.ini"
        path.write_text("token = Zq8x7Yw2v7KpLm4R\n")
        with pytest.raises(SecretInPrompt, match="settings looks like"):
            render("{{ settings }}", {"settings": path})

    def test_passes_table_named_token(self):
        """The name of a table says nothing about its cells."""
        assert render("{{ token }}", {"token": pd.DataFrame({"text": ["a1b2c3d4e5"]})}).text


class TestPage:
    """The documentation page tells the truth."""

    @pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
    def test_examples_run(self):
        """Every Python block of the page gives what it shows."""
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
        source = "\n".join(blocks)
        test = doctest.DocTestParser().get_doctest(source, {}, PAGE.name, str(PAGE), 0)
        report = []
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)

        assert len(test.examples) > 10 and report == []

    def test_cells_render(self):
        """Every cell of the page is a valid template."""
        cells = re.findall(
            r"^```text\n%%agent .*?\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
        )
        variables = {"cities": pd.DataFrame({"n": [1]}), "review": "fine"}

        assert len(cells) == 2
        assert all(render(cell, variables).manifest for cell in cells)

    @pytest.mark.parametrize("name", sorted(FILTERS))
    def test_lists_filters(self, name):
        """Each filter stands in the page's table with its parameters."""
        usage = FILTERS[name].usage.partition(":")[0]

        assert f"| `{usage}` |" in PAGE.read_text(encoding="utf-8")
