"""Hooks of mkdocs.yml for this project.

* README.md and other files outside docs/ are part of the site; links between all files work in the repository
  and on the site. A link to a file that is not on the site becomes plain text.
* A navigation entry that ends with "/" means every page of that folder.
* The build fails for a page that would load anything from another site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
FROM_ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "tests/README.md": "tests.md",
    "static/logo.svg": "images/logo.svg",
}
"""Paths in the repository, and the paths on the site that they get."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>",
    re.IGNORECASE,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation."""
    config.nav = [_expanded(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def _expanded(entry: Any, docs: Path) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, target),) = entry.items()
    if isinstance(target, list):
        return {title: [_expanded(one, docs) for one in target]}
    if target.endswith("/"):
        pages = sorted((docs / target).glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
        return {title: [f"{target}{path.name}" for path in pages]}
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    for path, page in FROM_ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert links within the repository into links of the site."""
    on_site = page.file.src_uri
    pages = {site: path for path, site in FROM_ELSEWHERE.items()}
    in_repository = pages.get(on_site, f"docs/{on_site}")
    return "".join(
        part if is_code else _relinked(part, in_repository, on_site, files)
        for part, is_code in _split_at_code(markdown)
    )


def _split_at_code(markdown: str) -> list[tuple[str, bool]]:
    """Split a page into parts; True marks a code block."""
    parts = re.split(r"(^ *```.*?^ *```[^\n]*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return [(part, bool(number % 2)) for number, part in enumerate(parts)]


def _relinked(text: str, in_repository: str, on_site: str, files: Files) -> str:
    def target(match: re.Match[str]) -> str:
        image, label, link, anchor = match[1], match[2], match[3], match[4] or ""
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), link))
        page = FROM_ELSEWHERE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if page is not None and files.get_file_from_path(f"{page}/README.md") is not None:
            page = f"{page}/README.md"
        if page is None and (ROOT / path).exists():
            return label
        relative = posixpath.relpath(page or path, posixpath.dirname(on_site) or ".")
        return f"{image}[{label}]({relative}{anchor})"

    return _LINK.sub(target, text)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from another site. Raises: PluginError."""
    if match := _LOADS.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another site: {match[0]}")
    return output
