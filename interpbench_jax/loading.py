"""Loading of a `Case` from its id and a source, whatever layout its files have."""

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from interpbench_dataset.packaged import UNTRAINED, model_ids, packaged_models
from interpbench_jax.case import Case, is_case_directory, read_case
from interpbench_jax.names import ReleaseName, number_of
from interpbench_jax.sites import Node
from interpbench_jax.texts import shown

if TYPE_CHECKING:
    from interpbench_conversion.upstream_files import UpstreamFiles
    from interpbench_jax.cases import IoiTask

# The declared tasks are imported only where they are needed: a packaged case needs none of them.

KeptTokensName = Literal["all", "prompts"]

PACKAGED = "packaged"
HUB = "hub"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def packaged_cases() -> tuple[str, ...]:
    """The cases whose weights this installation includes, in numeric order; possibly none."""
    return model_ids(packaged_models())


def why_untrained(case_id: str) -> str | None:
    """Why a task of InterpBench has no packaged model yet; None if no reason is recorded."""
    return UNTRAINED.get(case_id)


def load_case(
    case_id: str | Path,
    source: str | Path = PACKAGED,
    *,
    revision: str | None = None,
    cache_dir: Path | None = None,
    refresh: bool = False,
    tokens: KeptTokensName = "all",
) -> Case:
    """Load one case of InterpBench.

    Nothing in the files is executed, and neither torch nor TransformerLens is needed.

    Args:
        case_id: the id that upstream gives the case, such as `"11"`; or a folder with a case's
            files: a `Path`, or a string with a `/` in it, such as `"./mine"`.
        source: `"packaged"` for our own weights, which this installation includes
            (`packaged_cases` lists them) and which need no network; `"hub"` for upstream's
            repository on the Hugging Face Hub; the id of another repository there, such as
            `"someone/their-models"`; or a folder with the case's files, or one that contains such
            a folder named after the case, in upstream's layout of release 1.0.0, in its current
            layout, or in ours. The two words take precedence over folders of these names, which
            are `"./packaged"` and `"./hub"`.
        revision: for the Hub: a branch, a tag, or, to pin it, a full commit id; by default
            `main`.
        cache_dir: for the Hub: the cache to use instead of the library's own.
        refresh: for the Hub: whether to check for updates of a cached branch; if not, what the
            cache has is used without a request.
        tokens: for upstream's files of a language model (`"ioi"`, `"ioi_next_token"`): `"all"` to
            keep all of the file's 50,257 tokens, or `"prompts"` to keep only those of prompts, as
            our own models do. On prompts, both give the same activations and the same logits of
            those tokens.

    Raises:
        FileNotFoundError: if the case is not packaged, the folder does not contain it, or the
            source is neither a folder nor a repository.
        interpbench_conversion.errors.UpstreamFormatError: if a file of upstream's is not
            understood; a ValueError.
        ValueError: if a file of ours is invalid or of another case, a folder as `case_id` comes
            with a source, an option for the Hub comes with such a folder or with the packaged
            models, the key of a private task is missing, or `tokens` is `"prompts"` for a case
            without prompts.
        interpbench_conversion.hub.HubError: if the Hub does not provide the files; an OSError.
    """
    if isinstance(case_id, Path) or re.search(r"[/\\]", str(case_id)):
        _check_no_source(source)
        _check_not_of_the_hub("weights in a folder", revision, cache_dir, refresh)
        return _load_folder(Path(case_id).expanduser(), tokens)
    case_id = find_id(str(case_id))
    _check_tokens(case_id, tokens)
    if source == PACKAGED:
        _check_not_of_the_hub("the packaged weights", revision, cache_dir, refresh)
        return _load_packaged(case_id)
    directory = Path(source).expanduser()
    if source != HUB and directory.is_dir():
        _check_not_of_the_hub("weights in a folder", revision, cache_dir, refresh)
        folder = case_directory(directory, case_id)
        return _load_directory(folder, case_id, {"source": "folder"}, tokens)
    if isinstance(source, Path) or (source != HUB and not _REPO_ID.fullmatch(source)):
        raise FileNotFoundError(
            f"Expected {PACKAGED!r}, {HUB!r}, a folder, or a Hub repository such as "
            f"'someone/models' as the source of case {case_id!r}, got {str(source)!r}, which is "
            "not a folder here."
        )
    from interpbench_conversion.hub import DEFAULT_REPO, DEFAULT_REVISION, fetch_case

    fetched = fetch_case(
        number_of(case_id),
        repo_id=DEFAULT_REPO if source == HUB else str(source),
        revision=DEFAULT_REVISION if revision is None else revision,
        cache_dir=cache_dir,
        refresh=refresh,
    )
    provenance: dict[str, object] = {
        "source": "hub",
        "repo_id": fetched.repo_id,
        "commit": fetched.commit,
    }
    return _load_directory(fetched.directory, case_id, provenance, tokens)


def find_id(name: str) -> str:
    """The id that a name means; what names no declared task is left to the source."""
    if name in packaged_cases():
        return name
    from interpbench_jax.cases import find_task

    try:
        return find_task(name).case_id
    except ValueError:
        return name


def _load_folder(directory: Path, tokens: KeptTokensName) -> Case:
    """Load the case in a folder; a folder in upstream's layout must be named after its case."""
    if not directory.is_dir():
        raise FileNotFoundError(
            f"Expected a case's id or a folder with a case's files, got {str(directory)!r}: there "
            "is no such folder."
        )
    if is_case_directory(directory):
        return read_case(directory)
    name = Path(os.path.realpath(directory)).name
    case_id = _id_in_folder(directory, name)
    _check_tokens(case_id, tokens)
    return _load_directory(directory, case_id, {"source": "folder"}, tokens)


def _id_in_folder(directory: Path, name: str) -> str:
    """The id of the case in a folder of this name, in upstream's layout.

    It is the id that our own export noted, or the number of the release whose layout it is.
    """
    from interpbench_conversion.upstream_files import find_upstream_files, noted_case
    from interpbench_jax.cases import task_in

    files = find_upstream_files(directory)
    if files is None:
        return name
    task = task_in(_release_of(files), name)
    return noted_case(files) or (name if task is None else task.case_id)


def _release_of(files: "UpstreamFiles") -> ReleaseName:
    return "1.0.0" if files.layout == "v1" else "current"


def _load_packaged(case_id: str) -> Case:
    if case_id not in packaged_cases():
        raise FileNotFoundError(_why_not_packaged(case_id))
    return _load_directory(packaged_models() / case_id, case_id, {})


def _why_not_packaged(case_id: str) -> str:
    """What to say to someone who asks for a model that this installation does not have."""
    from interpbench_jax.cases import task_of

    task, names = task_of(case_id), packaged_cases()
    hub = f"source={HUB!r} (on the command line --repo {HUB}) for upstream's weights"
    if task is None:
        there = f"such as {names[0]} or {names[-1]}" if names else "but there is none here"
        return (
            f"Expected a case whose weights interpbench-jax includes, {there} (`interpbench list` "
            f"lists the cases); got {shown(case_id)}. Give {hub}, or the folder that contains the "
            "case's files."
        )
    reason = why_untrained(case_id)
    yet = "none" if reason is None else f"no certified one yet ({reason})"
    others = f"give {hub}, or" if {"1.0.0", "current"} & {*task.releases} else "give"
    return (
        f"Expected a case whose weights interpbench-jax includes; of case {case_id!r} there is "
        f"{yet}. Train a model with `interpbench train {case_id}`, or {others} the folder that "
        "contains one."
    )


def _check_no_source(source: str | Path) -> None:
    if source != PACKAGED:
        raise ValueError(
            f"Expected a folder alone, or an id and a source; got a folder and the source "
            f"{str(source)!r}."
        )


def _check_not_of_the_hub(
    what: str, revision: str | None, cache_dir: Path | None, refresh: bool
) -> None:
    options = {"revision": revision, "cache_dir": cache_dir, "refresh": refresh or None}
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"Expected no revision, cache_dir or refresh for {what}, got "
            f"{', '.join(given)}: they apply only to the Hub. Omit them, or give source={HUB!r} "
            f"(on the command line --repo {HUB}) or another repository."
        )


def _check_tokens(case_id: str, tokens: str) -> None:
    """Check that `load_case` can keep these tokens of the case."""
    if tokens == "all":
        return
    from interpbench_jax.cases import CASES, IoiTask

    if tokens != "prompts" or not isinstance(CASES.get(case_id), IoiTask):
        raise ValueError(
            f"Expected tokens='all', or 'prompts' for the language models ioi and ioi_next_token; "
            f"got {tokens!r} for case {case_id!r}."
        )


def _load_directory(
    directory: Path,
    case_id: str,
    provenance: dict[str, object],
    tokens: KeptTokensName = "all",
) -> Case:
    if is_case_directory(directory):
        case = read_case(directory)
        if case.case_id != case_id:
            raise ValueError(
                f"Expected case {case_id!r} in {directory}, got case {case.case_id!r}; request it "
                "by that name, or give another source."
            )
        return case
    from interpbench_conversion.convert import convert_case
    from interpbench_conversion.metadata import find_metadata
    from interpbench_conversion.upstream_files import find_upstream_files
    from interpbench_conversion.vocabulary import KeptTokens
    from interpbench_jax.cases import CASES, IoiTask

    files = find_upstream_files(directory)
    if files is None:
        raise FileNotFoundError(
            f"Expected case {case_id!r} in {directory}, found neither our config.json nor "
            f"upstream's ll_model*.pth there; it contains {_listing(directory)}."
        )
    _check_id(case_id, files)
    task, metadata = CASES.get(case_id), find_metadata(directory, number_of(case_id))
    vocab = metadata.vocab if metadata is not None else None
    description = metadata.task_description if metadata is not None else ""
    moved: dict[Node, Node] = {}
    kept = None
    if isinstance(task, IoiTask):
        # Its files have GPT-2's vocabulary, of which we ship only the table of prompts' tokens.
        description = task.description
        if tokens == "prompts":
            kept = KeptTokens(task.gpt2_ids, task.tokens, task.max_seq_len)
    elif task is not None:
        description = task.description
        if vocab is None:
            vocab = task.tokens
        moved = {node: targets[0] for node, targets in task.moved}
    case = convert_case(
        files,
        case_id,
        vocab=vocab,
        task_description=description,
        provenance=provenance,
        moved=moved,
        keep_tokens=kept,
        circuit_instead=None if task is None else task.upstream_circuit,
    )
    return case if not isinstance(task, IoiTask) else _complete(case, task)


def _check_id(case_id: str, files: "UpstreamFiles") -> None:
    """Refuse files of another case, or of a release that has another task under the number.

    Raises:
        UpstreamFormatError: if the file of training arguments is not understood.
        ValueError: if they are.
    """
    from interpbench_conversion.upstream_files import noted_case
    from interpbench_jax.cases import CASES, task_in

    own, release = noted_case(files), _release_of(files)
    if own == case_id or (own is None and case_id not in CASES):
        return
    if own is None:
        if release in CASES[case_id].releases:
            return
        other = task_in(release, number_of(case_id))
        own = None if other is None else other.case_id
    raise ValueError(
        f"Expected case {case_id!r} in {files.weights.parent}, got files in the layout of release "
        f"{release}" + ("." if own is None else f", of case {own!r}; request it by that name.")
    )


def _complete(case: Case, task: "IoiTask") -> Case:
    """Add what upstream's files of a language model lack: the circuit and a short vocabulary.

    Upstream releases no list of edges for it, only the alignment that the edges follow from.
    """
    is_short = case.config.d_vocab == len(task.tokens)
    return dataclasses.replace(
        case,
        circuit=task.upstream_circuit if case.circuit is None else case.circuit,
        vocab=task.tokens if case.vocab is None and is_short else case.vocab,
    )


def case_directory(directory: Path, case_id: str) -> Path:
    """The folder of a case: a subfolder named after it, or the given folder itself."""
    from interpbench_jax.cases import CASES

    number = number_of(case_id)
    for inner in (directory / case_id, directory / "models" / case_id, directory / number):
        if inner.is_dir():
            return inner
    name = Path(os.path.realpath(directory)).name
    if name in CASES and name not in (case_id, number):
        raise FileNotFoundError(
            f"Expected case {case_id!r} in {directory}, which is the folder of case {name!r}."
        )
    return directory


def _listing(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
