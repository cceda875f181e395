"""MkDocs hooks: the pages that are generated, and the check that the API reference is complete.

MkDocs loads this file by its path, and its neighbors by their names.
"""

import logging
from pathlib import Path

from case_pages import case_files
from command_page import command_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook_pages import notebook_files, notebooks
from public_names import public_names, undocumented

from interpbench_jax.loading import packaged_cases

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "examples" / "notebooks"
# Warnings of this logger count as MkDocs's own: with `strict`, the build fails.
LOG = logging.getLogger("mkdocs.hooks.interpbench")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    nav = config.nav
    assert isinstance(nav, list)
    for section in nav:
        if isinstance(section, dict) and "Cases" in section:
            section["Cases"] += [f"cases/{case_id}.md" for case_id in packaged_cases()]
        if isinstance(section, dict) and "Notebooks" in section:
            section["Notebooks"] += [f"notebooks/{path.stem}.md" for path in notebooks(NOTEBOOKS)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and their pictures."""
    generated: dict[str, str | bytes] = {
        **case_files(),
        **notebook_files(NOTEBOOKS),
    }
    for path, content in generated.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add the reference of all commands to the page about them."""
    return markdown + command_reference() if page.file.src_uri == "commands.md" else markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of each public name that the API reference lacks."""
    for name in undocumented(Path(config.site_dir) / "objects.inv"):
        LOG.warning(f"{name} is public, but no page of the API reference documents it.")
    LOG.info(f"The API reference documents all {len(public_names())} public names.")
