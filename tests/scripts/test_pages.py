"""The pages: commands that exist, links that lead somewhere, citations that are explained."""

import pkgutil
import re
import shlex

import pytest
import typer
from support.commands import ROOT, run_python
from support.engines import needs_all
from typer.testing import CliRunner

from triptych.cli.app import app

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """Return the arguments of each ``triptych ...`` in code blocks and between backticks."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", outside)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    matched = []
    for code in [*lines, *spans]:
        code = " ".join(re.split("[#|>]", code)[0].split())
        while code.startswith(("$ ", "env ", "-u ")) or re.match(r"[A-Z_]+(=\S*)? ", code):
            code = code.partition(" ")[2]
        code = re.sub("^kubectl exec .*? -- ", "", code)
        if code.startswith("triptych "):
            matched.append(code.removeprefix("triptych "))
    return matched


# A tool as a page or the tool itself says to start it: its name, and whether as a module.
STARTED_TOOL = re.compile(r"python (?:tools/(\w+)\.py|-m tools\.(\w+))")
IMPORT_EACH = """
import runpy, sys
before = list(sys.path)
for tool in sys.argv[1:]:
    sys.path[:] = before
    runpy.run_path(f"tools/{tool}.py", run_name="imported")
"""

ALL = sorted({(name, command) for name in NAMES for command in commands(text_of(name))})


def known_commands() -> dict[str, typer.core.TyperCommand]:
    root = typer.main.get_command(app)
    return dict(root.commands)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", known_commands())
def test_every_example_in_a_help_text_is_one_line(name: str):
    text = known_commands()[name].help or ""
    _, _, examples = text.partition("Examples:")
    for example in examples.strip().split("\n\n") if examples else []:
        assert example.startswith("triptych ")
        assert "\n" not in example, example


@pytest.mark.process
def test_every_tool_starts_as_the_pages_say():
    """A script finds what is in its own folder, a module what is in the working directory."""
    pages = [*PAGES, *(ROOT / "tools").glob("*.py")]
    matches = [
        match for page in pages for match in STARTED_TOOL.finditer(page.read_text(encoding="utf-8"))
    ]
    scripts = {match[1] for match in matches if match[1]}
    modules = {match[2] for match in matches if match[2]}
    assert len(scripts) >= 10
    assert len(modules) >= 3
    as_modules = "; ".join(f"import tools.{name}" for name in sorted(modules))
    for command in (["-P", "-c", IMPORT_EACH, *sorted(scripts)], ["-c", as_modules]):
        ended = run_python(*command, cwd=ROOT, PYTHONPATH="", PYTHONSAFEPATH="")
        assert ended.returncode == 0, ended.stderr


def test_the_readme_has_commands():
    assert len([name for name, _ in ALL if name == "README.md"]) >= 8


@pytest.mark.parametrize(("page", "command"), ALL)
def test_every_command_exists_with_its_options(page: str, command: str):
    words = shlex.split(command.replace("…", "")) or ["--help"]
    if words[0].startswith("-"):
        assert words[0] in ("--version", "--help", "-h")
        return
    table = known_commands()
    assert words[0] in table, f"{page}: triptych {command}"
    matched = table[words[0]]
    if hasattr(matched, "commands") and len(words) > 1 and words[1] in matched.commands:
        matched = matched.commands[words[1]]
    options = {name for parameter in matched.params for name in parameter.opts}
    options |= {name for parameter in matched.params for name in parameter.secondary_opts}
    options |= {"--help", "-h"}
    own, _, _ = " ".join(words).partition(" -- ")  # what follows is for a script
    for word in own.split(" ")[1:]:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in options, f"{page}: triptych {command}"


QUICK = ("show --hidden 256,128 --dropout 0.3", "show --network lenet --like keras", "--version")


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_run(command: str):
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    pytest.importorskip("torch")
    (code,) = re.findall(r"^```python\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    done = run_python("-c", code, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    accuracy, equal = done.stdout.splitlines()
    assert float(accuracy) > 0.9
    assert equal.startswith("True {'numpy': 0.9")


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{name}: {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in anchors, f"{name}: {target}"


@pytest.mark.parametrize("name", NAMES)
def test_scripts_and_files_that_a_page_names_exist(name: str):
    text = text_of(name)
    for path in re.findall(
        r"`?\b((?:triptych|tools|benchmarks|tests|docs)/[\w/-]+\.(?:py|txt|md))\b", text
    ):
        if not re.search(r"[A-Z]{2}", path):  # a placeholder
            assert (ROOT / path).exists(), f"{name}: {path}"
    for path in re.findall(r"\bpython (?:-P )?((?:tools/)?[\w/-]+\.py)\b", text):
        created = {"mine.py", "solution.py"}  # by an exercise
        assert path in created or (ROOT / path).exists(), f"{name}: {path}"


def test_the_readme_is_short_and_begins_with_what_it_is():
    lines = text_of("README.md").splitlines()
    assert len(lines) <= 120
    assert lines[0] == "# Triptych"
    assert lines[2].startswith("**The same neural network in ")
    assert lines[4].startswith("![")


def test_the_readme_names_no_host_of_a_package_registry():
    assert not re.search(r"pypi|pythonhosted|download\.pytorch|index-url", text_of("README.md"))


def test_one_page_tells_where_things_are():
    having = [
        name for name in NAMES if re.search(r"^#+ Where things are", text_of(name), re.MULTILINE)
    ]
    assert having == ["docs/design.md"]


def test_every_page_is_in_the_list_of_pages():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", text_of("docs/README.md")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} == listed | {"README.md"}


def explained() -> set[str]:
    """Return the numbers of the differences that the catalogue explains."""
    return set(re.findall(r"^### (D\d+) ", text_of("docs/catalogue.md"), re.MULTILINE))


def test_every_citation_of_a_difference_is_explained():
    numbers = explained()
    files = [*PAGES]
    for folder in ("triptych", "benchmarks", "tests", "tools"):
        files += (ROOT / folder).rglob("*.py")
    for path in files:
        cited = set(re.findall(r"\bD\d{2,3}\b", path.read_text(encoding="utf-8")))
        assert cited <= numbers | {"D000"}, f"{path.relative_to(ROOT)}: {cited - numbers}"


def exists(dotted: str) -> bool:
    """Return whether a dotted name is a module of the package, or something in one."""
    try:
        pkgutil.resolve_name(dotted)
    except (ImportError, AttributeError):
        return False
    return True


# The first imports frameworks; the second is the former place of the classifier, and warns.
UNTRIED = ("triptych.engines.", "triptych.estimator")


@needs_all  # some modules import their framework
def test_every_module_and_name_in_backticks_exists():
    for path in [*PAGES, *(ROOT / "triptych").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for dotted in re.findall(r"`(triptych(?:\.\w+)+)`", path.read_text(encoding="utf-8")):
            if not dotted.startswith(UNTRIED):
                assert exists(dotted), f"{path.relative_to(ROOT)}: {dotted}"


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_a_private_place(name: str):
    """No path of somebody's machine."""
    assert not re.findall(r"(?<![\w.])/(?:home|Users|work|root|tmp)/\w+", text_of(name))
