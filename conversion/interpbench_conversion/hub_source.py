"""The source of a fetch, which every step needs and every error message names."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_REPO = "cybershiptrooper/InterpBench"
DEFAULT_REVISION = "main"
METADATA_FILE = "benchmark_metadata.json"


@dataclass(frozen=True)
class Source:
    """One case at one revision of one repository, with the Hub and the cache to use."""

    case_id: str
    repo_id: str
    revision: str
    repo_type: str
    cache_dir: Path
    token: str | bool | None
    endpoint: str
    refresh: bool

    def __str__(self) -> str:
        kind = "" if self.repo_type == "model" else f"{self.repo_type} "
        return (
            f"case '{self.case_id}' of {kind}{self.repo_id} (revision {self.revision}) "
            f"from {self.endpoint}"
        )
