"""Hook of mkdocs: documents that lie outside docs/ become pages of the site, and links between all of them work there.

In the repository a link is relative to the file it stands in; here every such link is mapped to the page or picture that the
site has for that file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "readme.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "AGENTS.md": "agents.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "medrega_edge/default_package/README.md": "model_card.md",
}
PICTURES = {
    path.relative_to(ROOT).as_posix(): f"images/{path.name}" for path in sorted((ROOT / "bench" / "results").glob("*.svg"))
}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files, config):
    """Add the pages and pictures."""
    for source, target in (PAGES | PICTURES).items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links at the site's own pages and pictures."""
    sources = {target: source for source, target in PAGES.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(match):
        file = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        target = (PAGES | PICTURES).get(file, file.removeprefix("docs/"))
        return match[1] + posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".") + match[3]

    return LINK.sub(turned, markdown)
