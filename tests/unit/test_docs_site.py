"""The documentation site: its links work, and no page loads from other sites."""

from __future__ import annotations

from pathlib import Path

import pytest
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files, get_files
from mkdocs.structure.pages import Page

from scripts import docs_site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config() -> MkDocsConfig:
    return load_config(str(ROOT / "mkdocs.yml"))


@pytest.fixture(scope="module")
def files(config: MkDocsConfig) -> Files:
    return config.plugins.on_files(get_files(config), config=config)  # runs the hook


def page(path: str, files: Files, config: MkDocsConfig) -> Page:
    file = files.get_file_from_path(path)
    assert file is not None
    return Page(None, file, config)


@pytest.mark.parametrize(
    ("path", "written", "expected"),
    [
        ("index.md", "[a](docs/reference/tenant.md#b)", "[a](reference/tenant.md#b)"),
        ("index.md", "![a](docs/images/home.png)", "![a](images/home.png)"),
        ("index.md", "[a](CONTRIBUTING.md), [LICENSE](LICENSE)", "[a](contributing.md), LICENSE"),
        (
            "index.md",
            "[a](docs/examples/client-authentication)",
            "[a](examples/client-authentication/README.md)",
        ),
        ("tests.md", "[a](../docs/threat-model.md)", "[a](threat-model.md)"),
        ("reference/http.md", "[a](../../SECURITY.md#b)", "[a](../security.md#b)"),
        ("reference/http.md", "[a](../operations.md) [b](#c)", "[a](../operations.md) [b](#c)"),
        ("index.md", "[a](https://example.com/)", "[a](https://example.com/)"),
        ("index.md", "```\n[a](LICENSE)\n```\n", "```\n[a](LICENSE)\n```\n"),
        ("index.md", "[a](docs/no-such-page.md)", "[a](no-such-page.md)"),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(
    path: str, written: str, expected: str, files: Files, config: MkDocsConfig
) -> None:
    assert docs_site.on_page_markdown(written, page(path, files, config), config, files) == expected


def test_the_navigation_has_every_page_of_a_folder(config: MkDocsConfig) -> None:
    expanded = docs_site.on_config(load_config(str(ROOT / "mkdocs.yml"))).nav
    decisions = {f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert decisions
    assert all(f"'{name}'" in str(expanded) for name in decisions)
    assert config.strict


@pytest.mark.parametrize(
    "loads",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<img alt="" src=//cdn.example/x.png>',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect" crossorigin>',
    ],
)
def test_a_page_that_loads_from_another_site_fails_the_build(
    loads: str, files: Files, config: MkDocsConfig
) -> None:
    with pytest.raises(PluginError, match="loads from another site"):
        docs_site.on_post_page(f"<p>{loads}", page("index.md", files, config), config)


def test_links_and_files_of_the_site_itself_are_allowed(files: Files, config: MkDocsConfig) -> None:
    html = '<a href="https://example.com/">x</a><img src="images/home.png"><link rel="canonical" href="https://x/">'
    assert docs_site.on_post_page(html, page("index.md", files, config), config) == html
