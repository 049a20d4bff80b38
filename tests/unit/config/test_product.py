"""The operator's product in the settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portal.config.logo_content import LogoRefused, logo_of
from portal.config.logo_file import LARGEST_LOGO, read_logo
from portal.config.product import Product
from portal.config.settings import load_settings
from portal.errors import ConfigurationError
from tests.kit.logos import SVG, jpeg, png, webp

EVERYTHING = """\
product:
  name: Initech Sign-in
  logo: brand/logo.svg
  color: "#7A1F5C"
  support_url: https://help.initech.example/portal?from=sign-in
  support_email: help@initech.example
  legal_url: https://initech.example/legal
"""


def written(folder: Path, text: str) -> Path:
    (folder / "brand").mkdir(exist_ok=True)
    (folder / "brand" / "logo.svg").write_text(SVG)
    path = folder / "portal.yaml"
    path.write_text(text)
    return path


def problem(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ or {})
    (found,) = caught.value.problems
    return str(found).replace(f"{path.parent}/" if path else "", "")


def test_every_key_is_read_and_the_logo_is_relative_to_the_file(tmp_path: Path) -> None:
    product = load_settings(written(tmp_path, EVERYTHING), {}).product
    assert product.logo is not None
    assert (product.logo.content, product.logo.kind, product.logo.ratio) == (SVG.encode(), "svg", 3.0)
    assert product == Product(
        name="Initech Sign-in",
        logo=product.logo,
        color="#7a1f5c",
        support_url="https://help.initech.example/portal?from=sign-in",
        support_email="help@initech.example",
        legal_url="https://initech.example/legal",
    )


def test_variables_take_precedence_and_their_logo_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, EVERYTHING)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("other.png").write_bytes(png(64, 32))
    environ = {"PORTAL_PRODUCT_LOGO": "other.png", "PORTAL_PRODUCT_NAME": "Other"}
    product = load_settings(path, environ).product
    assert product.logo is not None
    assert (product.name, product.logo.kind, product.logo.ratio) == ("Other", "png", 2.0)
    assert product.color == "#7a1f5c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("logo: missing.svg", "3:9: product.logo cannot be used: there is no such file; name an SVG, PNG"),
        ("logo: brand", "3:9: product.logo cannot be used: is not a regular file; name an SVG, PNG,"),
        ("color: red", '3:10: product.color must be a colour such as "#1f6feb" (in quotes'),
        ("colour: red", '3:3: unknown key "colour" in product; did you mean "color"?'),
        ("name: ' '", "3:9: product.name must be one line of 1 to 100 visible characters"),
        ("support_url: help.example", "3:16: product.support_url must be a URL that begins with https://"),
        ("support_url: javascript:alert(1)", "3:16: product.support_url must be a URL that begins with"),
        ("legal_url: https://a@b.example/", "3:14: product.legal_url must be a URL that begins with"),
        ("legal_url: https://b.example/<id>", "3:14: product.legal_url must be a URL of ASCII characters"),
        ("support_email: help", "3:18: product.support_email must be an e-mail address such as help@"),
        (
            "support_email: a@b.example?cc=c@d.example",
            "3:18: product.support_email must be an e-mail address",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_write(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"# settings\nproduct:\n  {line}\n")
    assert problem(path).startswith(f"portal.yaml:{message}")


def test_a_logo_of_a_variable_is_named_with_the_variable() -> None:
    assert problem(None, {"PORTAL_PRODUCT_LOGO": "no.svg"}).startswith("PORTAL_PRODUCT_LOGO: product.logo ")


# --- logos


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(LogoRefused) as caught:
        read_logo(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<script>alert(1)</script>", "contains a script"),
        ("<SCRIPT/>", "contains a script"),
        ('<foreignObject><p xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>', "foreign element"),
        ('<rect onclick="alert(1)"/>', "contains an event handler"),
        ('<image href="https://tracker.example/a.png"/>', "refers to another file"),
        (
            '<a xmlns:x="http://www.w3.org/1999/xlink" x:href="javascript:alert(1)"/>',
            "refers to another file",
        ),
        ('<rect style="fill: url(https://tracker.example/a.svg#b)"/>', "refers to another file"),
        ('<rect fill="url( //tracker.example/a.svg)"/>', "refers to another file"),
        ("<style>@import 'https://tracker.example/a.css';</style>", "refers to another file"),
        ("<style>.a { fill: u</style><style>rl(https://tracker.example) }</style>", "refers to another file"),
        ("<style>.a { fill: \\75rl(https://tracker.example) }</style>", "refers to another file"),
        ("<style><g/></style>", "foreign element"),
        ('<a><set attributeName="xlink:href" to="javascript:alert(1)"/></a>', "animates an address"),
        ("<g>" * 101 + "</g>" * 101, "nested deeper"),
        ("<g>", "is not well-formed XML in UTF-8 (line 1, column"),
    ],
)
def test_an_svg_file_that_could_act_is_refused(tmp_path: Path, inside: str, message: str) -> None:
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">{inside}</svg>'
    assert message in refusal(tmp_path / "logo.svg", text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no SVG, PNG, WebP or JPEG file"),
        (b"GIF89a", "is no SVG, PNG, WebP or JPEG file"),
        (b"<html><svg/></html>", "its root must be <svg"),
        (b"<svg/>", "its root must be <svg"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg"/>', "declares entities"),
        ('<?xml-stylesheet href="a.css"?><svg xmlns="http://www.w3.org/2000/svg"/>', "a style sheet"),
        (SVG.replace("0 0 96 32", "0 0 400 32"), "more than 4 times as wide as high"),
        (SVG.encode("utf-16"), "is no SVG, PNG, WebP or JPEG file"),
        (SVG + "<!--" + "x" * LARGEST_LOGO + "-->", "is larger than 256 KB"),
        (png(32, 32)[:-4], "is not a complete PNG file"),
        (png(5, 1).replace(b"\0\0\0\5\0\0\0\1", b"\0\1\0\0\0\1\0\0"), "is more than 4096 pixels wide"),
    ],
)
def test_a_file_that_is_no_small_logo_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path / "logo", content)


@pytest.mark.parametrize(
    ("content", "kind", "ratio"),
    [
        (png(64, 32), "png", 2.0),
        (jpeg(64, 32), "jpeg", 2.0),
        (webp("VP8 ", 64, 32), "webp", 2.0),
        (webp("VP8L", 32, 64), "webp", 0.5),
        (webp("VP8X", 96, 32), "webp", 3.0),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><rect fill='url( \"#a\")'/></svg>", "svg", 1.0),
    ],
)
def test_the_kind_and_shape_of_a_picture_are_those_of_its_content(
    content: bytes, kind: str, ratio: float
) -> None:
    found = logo_of(content)
    assert (found.kind, found.ratio) == (kind, ratio)


@pytest.mark.parametrize(
    "content",
    [
        jpeg(64, 32)[:-2],
        jpeg(64, 32)[:40] + b"\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00" + b"\xff\xd9",
        jpeg(5000, 4000),
        webp("VP8 ", 64, 32)[:29],
        webp("VP8X", 5000, 4000),
        webp("VP8L", 64, 2),
    ],
)
def test_a_broken_or_too_large_picture_is_refused(content: bytes) -> None:
    with pytest.raises(LogoRefused):
        logo_of(content)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "logo.svg")
    with pytest.raises(LogoRefused, match="is not a regular file"):
        read_logo(tmp_path / "logo.svg")


@pytest.mark.parametrize(
    ("attributes", "ratio"),
    [
        ('viewBox="0 0 96 32"', 3.0),
        ('viewBox="0,0,16,32" width="500"', 0.5),
        ('width="64px" height="32"', 2.0),
        ('width="100%" height="100%"', 1.0),
        ("", 1.0),
    ],
)
def test_the_shape_of_an_svg_file_is_known(tmp_path: Path, attributes: str, ratio: float) -> None:
    path = tmp_path / "logo.svg"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">'
        f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}><style>.a {{ fill: red }}</style></svg>'
    )
    assert read_logo(path).ratio == ratio
