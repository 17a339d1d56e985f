"""Safety list entries are accepted or refused, never skipped; addresses in messages are read in every spelling."""

from __future__ import annotations

import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.addresses import (
    Address,
    AddressSet,
    RelatedDomains,
    domains_named,
    read_addresses,
    read_domain_entry,
    read_entry,
    read_one_address,
)
from core.characters import describe

ROOT = Path(__file__).resolve().parents[2]

# The other planes have ideographs and unassigned characters.
CHARACTERS = [chr(code) for code in (*range(0x20000), *range(0xE0000, 0xE1000))]

# Invisible characters and spaces: by Unicode category, plus letters and marks that fonts don't draw.
INVISIBLE = [
    character for character in CHARACTERS if unicodedata.category(character) in ("Cf", "Cc", "Zs", "Zl", "Zp")
] + list("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef")
MARKS = [character for character in CHARACTERS if unicodedata.category(character) in ("Mn", "Me")]
COMBINING = [c for c in MARKS if unicodedata.name(c).startswith("COMBINING ")]


def refusal(entry: str) -> str:
    with pytest.raises(ValueError) as caught:
        read_entry(entry)
    reason = str(caught.value)
    assert reason.isascii()
    assert reason.isprintable()
    return reason


class TestSafetyLists:
    @pytest.mark.parametrize(
        ("entry", "address"),
        [
            ("corp.example", Address(None, "corp.example")),
            ("CORP.Example.", Address(None, "corp.example")),
            ("mail.corp.example", Address(None, "mail.corp.example")),
            ("ceo@corp.example", Address("ceo", "corp.example")),
            ("CEO@Corp.Example", Address("ceo", "corp.example")),
            ("o'brien+x_y-z=a&b@corp.example", Address("o'brien+x_y-z=a&b", "corp.example")),
            ("jörg@corp.example", Address("jörg", "corp.example")),
            ("bücher.example", Address(None, "xn--bcher-kva.example")),
            ("bu\u0308cher.example", Address(None, "xn--bcher-kva.example")),
            ("XN--BCHER-KVA.example", Address(None, "xn--bcher-kva.example")),
            ("straße.example", Address(None, "xn--strae-oqa.example")),
            ("пример.example", Address(None, "xn--e1afmkfd.example")),
            ("例え.example", Address(None, "xn--r8jz45g.example")),
            ("ソニー.example", Address(None, "xn--3ck2a1k.example")),
            ("\u65e5\u672cabc.example", Address(None, "xn--abc-s08fl0d.example")),
            ("\u0639\u0663\u0664.example", Address(None, "xn--4gb8fd.example")),
            ("foo_bar.example", Address(None, "foo_bar.example")),
            ("a--b.example", Address(None, "a--b.example")),
            ("4you.example", Address(None, "4you.example")),
            (f"{'a' * 63}.example", Address(None, f"{'a' * 63}.example")),
        ],
    )
    def test_a_plain_address_or_domain_is_accepted(self, entry: str, address: Address) -> None:
        assert read_entry(entry) == address
        assert AddressSet([entry]).covers(entry)

    @pytest.mark.parametrize("entry", ["ceo@corp.example", "corp.example"])
    @pytest.mark.parametrize("place", ["front", "middle", "before the @", "behind the @", "end", "around"])
    def test_an_invisible_character_is_refused_and_named(self, entry: str, place: str) -> None:
        at = entry.find("@") % len(entry)
        for character in INVISIBLE:
            written = {
                "front": character + entry,
                "middle": f"{entry[:2]}{character}{entry[2:]}",
                "before the @": entry[:at] + character + entry[at:],
                "behind the @": entry[: at + 1] + character + entry[at + 1 :],
                "end": entry + character,
                "around": f"{character}{entry}{character}",
            }[place]
            assert f"U+{ord(character):04X} " in refusal(written)

    def test_a_combining_mark_without_a_letter_is_refused_and_named(self) -> None:
        for mark in MARKS:
            # The normal form of a few marks has two characters.
            first = unicodedata.normalize("NFC", mark)[0]
            entries = [
                f"{mark}corp.example",
                f"x.{mark}corp.example",
                f"{mark}ceo@corp.example",
                f"co1{mark}rp.example",
            ]
            # A mark at the end of a Latin word has no letter either, except an accent, which combines with it.
            entries += [] if mark in COMBINING else [f"corp.example{mark}", f"ceo{mark}@corp.example"]
            for entry in entries:
                assert f"U+{ord(first):04X} " in refusal(entry)
        for mark in COMBINING:
            assert f"U+{ord(mark):04X} " in refusal(f"corp.example{mark}")

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ("\u200ecorp.example", "U+200E LEFT-TO-RIGHT MARK at character 1"),
            ("\ufeffcorp.example", "U+FEFF ZERO WIDTH NO-BREAK SPACE (byte order mark)"),
            ("\u202aceo@corp.example\u202c", "U+202A LEFT-TO-RIGHT EMBEDDING"),
            ("\u202bcorp.example", "U+202B RIGHT-TO-LEFT EMBEDDING"),
            ("corp.example\u202c", "U+202C POP DIRECTIONAL FORMATTING"),
            ("co\u200brp.example", "U+200B ZERO WIDTH SPACE"),
            ("co\u00adrp.example", "U+00AD SOFT HYPHEN"),
            ("corp.example\n", "U+000A LINE FEED"),
            ("corp\0.example", "U+0000 NULL"),
            ("\tcorp.example", "U+0009 CHARACTER TABULATION at character 1: remove the white space"),
            ("mailto:ceo@corp.example", "U+003A COLON at character 7: write only the address or domain"),
            ("ceo%40corp.example", "U+0025 PERCENT SIGN at character 4: write the character itself"),
            ("*.corp.example", "U+002A ASTERISK at character 1: patterns are not supported"),
            ("c?o@corp.example", "U+003F QUESTION MARK"),
            ("a.example, b.example", "U+002C COMMA at character 10: write each"),
            ("a.example;b.example", "U+003B SEMICOLON"),
            ("a.example b.example", "U+0020 SPACE"),
            ("@corp.example", "starts with U+0040 COMMERCIAL AT: write only the domain"),
            (" corp.example", "U+0020 SPACE at character 1: remove the white space"),
            ("corp.example ", "U+0020 SPACE at character 13"),
            ("<ceo@corp.example", "U+003C LESS-THAN SIGN"),
            ("ceo@corp.example>", "U+003E GREATER-THAN SIGN"),
            ("<ceo@corp.example>", "U+003C LESS-THAN SIGN"),
            ("Dana <ceo@corp.example>", "U+0020 SPACE"),
            ('"ceo"@corp.example', "U+0022 QUOTATION MARK"),
            ("'ceo@corp.example'", "U+0027 APOSTROPHE"),
            ("ceo@corp.example(x)", "U+0028 LEFT PARENTHESIS"),
            ("${CEO}@corp.example", "U+0024 DOLLAR SIGN"),
            ("#ceo@corp.example", "U+0023 NUMBER SIGN"),
            ("=ceo@corp.example", "U+003D EQUALS SIGN"),
            ("&ceo@corp.example", "U+0026 AMPERSAND"),
            ("-ceo@corp.example", "U+002D HYPHEN-MINUS"),
            ("ceo.+@corp.example", "U+002B PLUS SIGN"),
            ("c\u0966rp.example", "U+0966 DEVANAGARI DIGIT ZERO among Latin letters"),
            ("ce\u0966@corp.example", "U+0966 DEVANAGARI DIGIT ZERO among Latin letters"),
            ("c\u0d20rp.example", "U+0D20 MALAYALAM LETTER TTHA among Latin letters"),
            ("ce\u12d0@corp.example", "U+12D0 ETHIOPIC SYLLABLE PHARYNGEAL A among Latin letters"),
            ("c\u0585rp.example", "U+0585 ARMENIAN SMALL LETTER OH among Latin letters"),
            ("\u02c7corp.example", "U+02C7 CARON among Latin letters"),
            ("ceo\u0640@corp.example", "U+0640 ARABIC TATWEEL among Latin letters"),
            ("https://corp.example", "U+003A COLON"),
            ("corp.example/", "U+002F SOLIDUS"),
            ("ceo\\@corp.example", "U+005C REVERSE SOLIDUS"),
            ("ｃorp.example", "U+FF43 FULLWIDTH LATIN SMALL LETTER C"),
            ("ceo＠corp.example", "U+FF20 FULLWIDTH COMMERCIAL AT"),
            ("corp．example", "U+FF0E FULLWIDTH FULL STOP"),
            ("corp。example", "U+3002 IDEOGRAPHIC FULL STOP"),
            ("corp｡example", "U+FF61 HALFWIDTH IDEOGRAPHIC FULL STOP"),
            ("co\u2010rp.example", "U+2010 HYPHEN"),
            ("ﬁrm.example", "U+FB01 LATIN SMALL LIGATURE FI"),
            ("☃.example", "U+2603 SNOWMAN"),
            ("сorp.example", "U+0441 CYRILLIC SMALL LETTER ES among Latin letters"),
            ("ceο@corp.example", "U+03BF GREEK SMALL LETTER OMICRON among Latin letters"),
            ("o\u02bcbrien@corp.example", "U+02BC MODIFIER LETTER APOSTROPHE"),
            ("mailto\u02d0ceo@corp.example", "U+02D0 MODIFIER LETTER TRIANGULAR COLON"),
            ("\ud800.example", "U+D800 surrogate"),
            ("\ue000.example", "U+E000 private use character"),
            ("a@b@corp.example", "U+0040 COMMERCIAL AT"),
            ("ceo@", "no domain after U+0040"),
            ("", "is empty"),
            ("ceo", "is a single word"),
            ("ceo@corp", "is a single word"),
            ("corp..example", "U+002E FULL STOP"),
            (".corp.example", "U+002E FULL STOP"),
            ("corp.example..", "U+002E FULL STOP"),
            ("ceo.@corp.example", "U+002E FULL STOP"),
            ("-corp.example", "U+002D HYPHEN-MINUS"),
            ("corp-.example", "U+002D HYPHEN-MINUS"),
            ("192.0.2.1", "is an IP address"),
            ("ceo@192.0.2.1", "is an IP address"),
            ("0x7f.1", "is an IP address"),
            ("ceo@[192.0.2.1]", "U+005B LEFT SQUARE BRACKET"),
            ("2001:db8::1", "U+003A COLON"),
            ("xn--zz-ä.example", "an invalid international label"),
            ("xn--a.example", "an invalid international label"),
            ("xn--.example", "U+002D HYPHEN-MINUS"),
            ("xn--ls8h.example", "U+1F4A9"),
            ("xn--0ca24w-.example", "U+002D HYPHEN-MINUS"),
            ("xn--abc-.example", "U+002D HYPHEN-MINUS"),
            (f"{'a' * 64}.example", "a label of more than 63"),
            (f"{'ü' * 60}.example", "a label of more than 63"),
            (".".join(["a" * 60] * 5), "more than 253"),
            ("a." * 200 + "example", "longer than 320"),
            (f"{'a' * 65}@corp.example", "more than 64 characters before"),
        ],
    )  # fmt: skip
    def test_the_refusal_of_an_invalid_entry_names_the_character(self, entry: str, reason: str) -> None:
        assert reason in refusal(entry)
        with pytest.raises(ValueError):
            AddressSet(["good.example", entry])

    def test_a_list_of_domains_refuses_an_address(self) -> None:
        assert read_domain_entry("Corp.example") == "corp.example"
        with pytest.raises(ValueError, match=r"U\+0040 COMMERCIAL AT: this list is for domains"):
            read_domain_entry("ceo@corp.example")

    @given(st.text(max_size=40) | st.text(st.sampled_from("ceo@corp.xn-\u200b\u0301ü.%*, <>"), max_size=40))
    def test_any_text_is_accepted_or_refused_with_an_ascii_message(self, text: str) -> None:
        try:
            entry = read_entry(text)
        except ValueError as error:
            assert str(error).isascii()
        else:
            assert entry.domain.isascii()
            assert AddressSet([text]).covers(text if "@" in text else f"x@{text}")


SCRIPTS = ("abcxyz", "abcüñé", "домпри", "例えば", "نامه", "αβγ")
LABEL = st.sampled_from(SCRIPTS).flatmap(
    lambda script: st.builds(
        "{}{}{}".format,
        st.sampled_from(script),
        st.text(st.sampled_from(f"{script}1-"), max_size=6),
        st.sampled_from(script),
    )
)
MAILBOX = st.builds(
    "{}{}{}".format, *[st.text(st.sampled_from(some), min_size=1, max_size=4) for some in ("ab9", "c_+-='ü", "xy0")]
)
ENTRY = st.tuples(st.none() | MAILBOX, st.lists(LABEL, min_size=1, max_size=3), st.sampled_from(["example", "ÉXAMPLE"]))


def spellings(mailbox: str | None, domain: str) -> list[str]:
    """Return the spellings in which a message field may name the address, or an address in the domain."""
    mailbox = "someone" if mailbox is None else mailbox
    ascii_form = read_entry(f"x@{domain}").domain
    domains = [
        domain,
        domain.upper(),
        domain + ".",
        ascii_form,
        ascii_form.upper(),
        unicodedata.normalize("NFD", domain),
    ]
    domains += [domain.replace(".", "。"), f"{domain[0]}\u200b{domain[1:]}", f"\u202a{domain}\u202c"]
    bare = [f"{mailbox}@{one}" for one in domains]
    around = [
        f"Dana Lee <{bare[0]}>",
        f'"Lee, Dana" <{bare[0]}>',
        f" {bare[0]}\n",
        f"mailto:{bare[0]}",
        f"{bare[0]} (Dana)",
    ]
    tagged = [] if "+" in mailbox else [f"{mailbox}+tag@{domain}"]
    return [*bare, *around, f"{mailbox.upper()}@{domain}", *tagged, f"other@else.example, {bare[0]}"]


@given(ENTRY)
def test_an_accepted_entry_covers_every_spelling_of_its_address(
    entry: tuple[str | None, list[str], str],
) -> None:
    mailbox, labels, top = entry
    domain = ".".join([*labels, top])
    text = domain if mailbox is None else f"{mailbox}@{domain}"
    try:
        read_entry(text)
    except ValueError:
        assume(False)
    made = AddressSet([text])
    for written in spellings(mailbox, domain):
        assert made.covers(written), written
    if mailbox is None:
        assert made.covers(f"x@mail.{domain}")
    assert not made.covers("ceo@unrelated.test")


class TestReadAddresses:
    @pytest.mark.parametrize(
        ("text", "domains"),
        [
            ("dana@corp.example", ["corp.example"]),
            ("Dana Lee <dana@corp.example>", ["corp.example"]),
            ('"Lee, Dana" <dana@corp.example>', ["corp.example"]),
            ('"x <ceo@evil.example>" <dana@corp.example>', ["corp.example"]),
            ("ceo@evil.example <dana@corp.example>", ["corp.example"]),
            ('"Dana \\" <x@y.example>" <dana@corp.example>', ["corp.example"]),
            ("Dana <dana@corp.example", ["corp.example"]),
            ("<dana@corp.example>", ["corp.example"]),
            ("a@b.example, Dana <c@d.example>", ["b.example", "d.example"]),
            ("Dana <c@d.example>, a@b.example", ["d.example", "b.example"]),
            ("Lee, Dana <c@d.example>", ["d.example"]),
            ("<@relay.example:dana@corp.example>", ["corp.example"]),
            ("A <a@b.example>, Dana <c@d.example>", ["b.example", "d.example"]),
            ("a@b.example; c@d.example\te@f.example", ["b.example", "d.example", "f.example"]),
            ("Team: a@b.example, c@d.example;", ["b.example", "d.example"]),
            ("smtp:dana@corp.example", ["corp.example"]),
            ("dana@corp.example (Dana)", ["corp.example"]),
            ('"a b"@corp.example', ["corp.example"]),
            ('"a@b"@corp.example', ["corp.example"]),
            ("DANA@CORP.EXAMPLE.", ["corp.example"]),
            (" dana@corp.example\r\n", ["corp.example"]),
            ("dana@bücher.example", ["xn--bcher-kva.example"]),
            ("dana@XN--BCHER-KVA.example", ["xn--bcher-kva.example"]),
            ("dana@corp。example", ["corp.example"]),
            ("dana＠ｃorp．example", ["corp.example"]),
            ("dana@co\u200brp\u202c.example", ["corp.example"]),
            ("dana@c_1.example", ["c_1.example"]),
        ],
    )
    def test_every_address_is_read(self, text: str, domains: list[str]) -> None:
        assert [address.domain for address in read_addresses(text)] == domains

    @pytest.mark.parametrize(
        "text",
        ["", " ", "<>", "dana", "undisclosed-recipients:;", "corp.example", "@corp.example", "dana@", "dana@corp", "@",
         "dana at corp.example", "dana@corp..example", "dana@.example", "dana@-corp.example", "dana@192.0.2.1",
         "dana@[192.0.2.1]", "ok@corp.example, broken@", "dana@corp!.example", f"dana@{'a' * 64}.example",
         "dana lee@corp.example", "dana@corp.example lee", "a@b@corp.example", "dana@corp.example/x",
         "dana@" + "a." * 200 + "example", "ceo%40corp.example"],
    )  # fmt: skip
    def test_a_text_without_a_valid_address_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"has (?:no|an invalid) address|has more than"):
            read_addresses(text)

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_an_error(self, text: str) -> None:
        try:
            found = read_addresses(text)
        except ValueError:
            return
        for address in found:
            assert address.mailbox
            assert address.domain.isascii()

    def test_hostile_text_is_refused_quickly(self) -> None:
        began = time.monotonic()
        for hostile in ('"' * 200_000, '"\\' * 100_000, "<" * 200_000, "a@b," * 50_000, "(" * 200_000, "ü@" * 100_000):
            with pytest.raises(ValueError, match="has more than"):
                read_addresses(hostile)
            domains_named(hostile)
        assert time.monotonic() - began < 5


class TestRelatedDomains:
    OWN = RelatedDomains(["mail.corp.example", "Bücher.example", "xn--strae-oqa.example"])

    @pytest.mark.parametrize(
        "domain",
        ["mail.corp.example", "MAIL.corp.example.", "a.mail.corp.example", "corp.example", "xn--bcher-kva.example",
         "x.bücher.example", "straße.example", "strasse.example", "mail。corp.example", "ma\u00adil.corp.example"],
    )  # fmt: skip
    def test_equal_domains_subdomains_and_parents_are_related(self, domain: str) -> None:
        assert self.OWN.relates(domain)

    @pytest.mark.parametrize(
        "domain", ["", "example", "other.corp.example", "notcorp.example", "corp.example.evil.test"]
    )
    def test_other_domains_are_not_related(self, domain: str) -> None:
        assert not self.OWN.relates(domain)
        assert not RelatedDomains().relates(domain)


def test_a_character_description_is_ascii() -> None:
    for character in map(chr, range(0, sys.maxunicode + 1, 31)):
        assert describe(character).isascii()


def test_importing_the_module_does_not_load_the_idna_tables() -> None:
    code = (
        "import sys; from core.addresses import AddressSet; AddressSet(['corp.example']).covers('a@b.example'); "
        "sys.exit(' '.join({'idna', 'idna.uts46data'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        (" Dana@Corp.example. ", ("dana@corp.example", "corp.example")),
        ("Dana Lee <Dana@Corp.example>", ("dana@corp.example", "corp.example")),
        ('"Lee, Dana" <dana@corp.example>', ("dana@corp.example", "corp.example")),
        # As the service spells it, because it is searched for.
        ("Dana@BÜCHER.example", ("dana@bücher.example", "xn--bcher-kva.example")),
    ],
)
def test_the_one_address_is_read_without_its_display_name(text: str, gives: tuple[str, str]) -> None:
    assert read_one_address(text) == gives


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dana",
        "dana at corp.example",
        "a@b.example, c@d.example",
        "undisclosed:;",
        5,
        "A <a@b.example> B <c@d.example>",
    ],
)
def test_a_text_without_exactly_one_address_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"address|string|angle"):
        read_one_address(text)
