"""All pages are true: links lead somewhere, commands can be typed, settings exist, programs are run by tests.

The tables here name the test that runs each program or command, or the reason why there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import yaml

from tools.verify_aws import __main__ as verify_aws

from .command_lines import TARGETS, all_options, is_command, problem_with
from .markdown import PAGES, ROOT, Block, Page
from .settings import DEV_OPTIONS, OF_ADAPTERS, OF_DEV, OF_STACKS, without_stage


class NotRun(NamedTuple):
    """A program or command that no test runs."""

    reason: str


By = str | NotRun
"""A test, `file::function`, or the reason why there is none."""

FRAMEWORK = "tests/examples/test_frameworks.py::test_the_first_program_of_the_readme_runs"
SAME_AS_EXAMPLE = "tests/test_testing_page.py::test_the_examples_tests_pass"

RENDERED = "tests/test_rendered_pages.py::test_a_page_gets_what_was_published_after_it_was_rendered"
GETTING_STARTED = "tests/docs/test_getting_started.py"

PROGRAMS: dict[str, dict[str, list[By]]] = {
    "README.md": {
        "The smallest backend": [
            "tests/examples/test_minimal.py::test_a_text_of_one_client_reaches_both",
            "tests/examples/test_minimal.py::test_the_readmes_publisher_prints_what_the_readme_shows",
        ]
    },
    "docs/browser.md": {"In the browser": [NotRun("a part of a program; the route is the example chat's")]},
    "docs/frameworks.md": {
        "Flask": ["tests/test_frameworks_page.py::test_flask"],
        "A page that misses nothing": [RENDERED],
        "Users of Flask-Login": ["tests/test_frameworks_page.py::test_users_of_flask"],
        "Django": ["tests/test_frameworks_page.py::test_django_lets_in"],
        "A page that misses nothing, on Django": [RENDERED],
        "Users of Django": ["tests/test_frameworks_page.py::test_users_of_django"],
        "FastAPI and Starlette": [
            "tests/test_frameworks_page.py::test_fastapi",
            "tests/test_frameworks_page.py::test_starlette",
        ],
        "Nothing missed": ["tests/test_frameworks_page.py::test_nothing_missed"],
        "A page that misses nothing, on FastAPI and Starlette": [RENDERED],
        "Users of a FastAPI dependency": ["tests/test_frameworks_page.py::test_users_of_fastapi"],
        "Users": ["tests/test_frameworks_page.py::test_users"],
        "The async publisher": ["tests/test_frameworks_page.py::test_the_async_publisher"],
        "Any other framework": ["tests/test_frameworks_page.py::test_any_other_framework"],
    },
    "docs/getting-started.md": {
        "A backend": [f"{GETTING_STARTED}::test_two_see_each_other_and_what_is_published_from_elsewhere"]
    },
    "docs/inbound.md": {
        "What your backend sees": ["tests/docs/test_inbound_page.py::test_a_text_that_comes_again_is_stored_once"]
    },
    "docs/moving.md": {
        "Step by step": ["tests/docs/test_moving_page.py::test_a_publish_reaches_clients_of_both_gateways"],
        "A backend, before and after": [
            "tests/docs/test_moving_page.py::test_before_it_responds_to_a_grip_proxy",
            "tests/docs/test_moving_page.py::test_after_it_does_the_same_here",
        ],
    },
    "docs/presence.md": {"Turn it on": ["tests/docs/test_presence_page.py::test_the_program_knows_who_is_there"]},
    "docs/testing-your-backend.md": {
        "Flask": [SAME_AS_EXAMPLE],
        "Django": [SAME_AS_EXAMPLE],
        "FastAPI and Starlette": [SAME_AS_EXAMPLE, SAME_AS_EXAMPLE],
    },
    "examples/django/README.md": {"SLIP Sockets on Django": [FRAMEWORK] * 3},
    "examples/fastapi/README.md": {"SLIP Sockets on FastAPI": [FRAMEWORK]},
    "examples/flask/README.md": {"SLIP Sockets on Flask": [FRAMEWORK]},
}
"""The Python programs of each page, by heading, in order."""

LINES: dict[str, By] = {
    r"\. \.venv/bin/activate": NotRun("the environment that this test runs in"),
    r"flask --app examples/minimal/app\.py run --port 8000": (
        "tests/examples/test_minimal.py::test_a_text_of_one_client_reaches_both"
    ),
    r"flask --app first\.py run --port 8000": FRAMEWORK,
    r"uvicorn first:app --port 8000": FRAMEWORK,
    r"uvicorn --factory examples\.stream\.app:create_app --port 8000": (
        "tests/examples/test_stream.py::test_an_answer_goes_on_in_the_middle_after_a_reload"
    ),
    r"python manage\.py runserver 8000": FRAMEWORK,
    r"python manage\.py test": SAME_AS_EXAMPLE,
    r"python -m bench( .*)?": "tests/bench/test_bench.py::test_main_prints_a_row_for_each_case",
    r"python -m bench\.fan_out( .*)?": "tests/bench/test_fan_out.py::test_a_named_case_is_printed_as_a_table",
    r"python -m bench\.inbound": "tests/bench/test_inbound.py::test_each_case_measures_a_running_server",
    r"python -m bench\.presence": (
        "tests/bench/test_presence.py::test_members_learn_of_each_other_and_a_storm_is_told_to_nobody"
    ),
    r"python -m bench\.recovering": (
        "tests/bench/test_recovering.py::test_clients_that_come_back_get_what_they_missed_or_one_frame"
    ),
    r"python -m bench\.functions( .*)?": "tests/bench/test_functions.py::test_main_prints_the_cases_named_as_json",
    r"python -m pytest tests/gateway": NotRun("a test that runs tests"),
    r"git checkout <the commit that ran before>": (
        "tests/e2e/test_redeployment.py::test_rolling_back_does_what_the_broken_worker_left"
    ),
    r"\.venv-lock/bin/poetry build": NotRun("its environment is that of `make lock`; run by hand for a release"),
    r"make .*": "tests/docs/test_pages.py::test_a_command_can_be_typed",
    r"([A-Z_]+=\S+ )?slip-sockets .*": "tests/docs/test_pages.py::test_a_command_can_be_typed",
    r"(export|unset) .*": "tests/docs/test_pages.py::test_a_command_can_be_typed",
    r"python3 -m venv \.venv": f"{GETTING_STARTED}::test_it_runs_from_where_it_was_installed",
    r"pip install .*": f"{GETTING_STARTED}::test_it_runs_from_where_it_was_installed",
    r"cdktf (synth|diff|deploy|destroy)( slip-sockets(-staging)?)?( --outputs-file cdk-outputs\.json)?": (
        "tests/e2e/test_deployment.py::test_the_outputs_file_has_the_originals_shape"
    ),
    r'eval "\$\(aws configure export-credentials --format env\)"': NotRun("needs the AWS CLI, and somebody logged in"),
    r"aws [a-z]+ .*": "tests/docs/test_operations_page.py::test_aws_has_each_command",
    r"terraform validate": "tests/stacks/test_terraform.py::test_configuration_is_valid",
    r"terraform state list": "tests/e2e/test_deployment.py::test_the_state_lists_what_was_designed",
    r"python tools/terraform_mirror\.py( .*)?": (
        "tests/tools/test_terraform_mirror.py::test_a_mirror_below_the_home_directory_is_used"
    ),
}
"""Commands that pages may have. A line that matches neither these nor PRINTED fails the test."""

PRINTED: dict[str, list[str]] = {
    "README.md": [r'\{"slip-sockets": \{"controlApi"'],
    "docs/deploying.md": [r'\{"slip-sockets": \{"controlApi"'],
    "docs/moving.md": [r'\{"items": '],
    "docs/security.md": [r"SlipSocketsPublisher\.from_outputs\("],
    "docs/fan-out.md": [r"2026-"],
}
"""Beginnings of indented code that is not for a shell: files, output, a line of a program."""

AFTER_ITS_COMMAND = {"docs/cost.md": "tests/cli/test_cost.py::test_the_page_shows_what_it_prints"}
"""Pages with output behind its command in one block of code, and the test of it."""

OPTIONS_OF_OTHERS = {"--auto-approve", "--no-cov", "--regenerate"}
OPTIONS_OF_VERIFY_AWS = {option for action in verify_aws.parser()._actions for option in action.option_strings}

SHELLS = {None, "sh", "bash", "shell", "console"}
"""Languages of code for a shell; indented code has none."""


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(request.param)


def command_lines(page: Page) -> Iterator[str]:
    """Yield the lines for a shell, without output."""
    for block in page.blocks:
        if block.language in SHELLS:
            parts = block.parts[:1] if page.name in AFTER_ITS_COMMAND else block.parts
            for part in parts:
                if not is_printed(page, part[0]):
                    yield from re.sub(r" *\\\n *", " ", "\n".join(part)).splitlines()


def is_printed(page: Page, first_line: str) -> bool:
    """Return whether a block is output. Figures of benchmarks are recognized by their columns."""
    beginnings = PRINTED.get(page.name, [])
    return (
        any(re.match(beginning, first_line) for beginning in beginnings)
        or re.match(r"case {2,}", first_line) is not None
    )


def kind_of(line: str) -> By | None:
    command = re.sub(r"\s+#.*", "", line).strip()
    return next((by for pattern, by in LINES.items() if re.fullmatch(pattern, command)), None)


def test_it_begins_with_its_purpose(page: Page) -> None:
    title, first = page.beginning
    assert title
    assert re.search(r"\b(lets|holds)\b", first), first
    if page.name.startswith("docs/"):
        assert first.startswith("This page lets you "), first


def leads_somewhere(page: Page, link: str) -> bool:
    target, _, anchor = link.partition("#")
    path = (page.path.parent / target).resolve() if target else page.path
    if not path.exists() or not path.is_relative_to(ROOT):
        return False
    return not anchor or (path.suffix == ".md" and anchor in Page(path.relative_to(ROOT).as_posix()).anchors)


def test_every_link_leads_to_a_file_and_a_heading(page: Page) -> None:
    within = [link for link in page.links if not re.match(r"[a-z]+:", link)]
    assert [link for link in within if not leads_somewhere(page, link)] == []


def test_the_index_has_every_page() -> None:
    listed = {link for link in Page("docs/README.md").links if "/" not in link}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - listed == {"README.md"}


def test_each_python_program_compiles_and_is_run_by_a_test(page: Page) -> None:
    found: dict[str, list[Block]] = {}
    for block in page.blocks:
        if block.language == "python":
            compile(block.text, f"{page.name}, {block.heading}", "exec")
            found.setdefault(block.heading, []).append(block)
    accounted = {heading: len(by) for heading, by in PROGRAMS.get(page.name, {}).items()}
    assert {heading: len(blocks) for heading, blocks in found.items()} == accounted, "name their tests in PROGRAMS"


def test_every_line_for_a_shell_is_of_a_known_kind(page: Page) -> None:
    unknown = [line for line in command_lines(page) if kind_of(line) is None]
    assert unknown == [], "a typing error; or name its test in LINES, or add it to PRINTED as output"


def test_a_command_can_be_typed(page: Page) -> None:
    problems = [(line, problem_with(line)) for line in command_lines(page)]
    in_text = [code for code in page.code if is_command(code)]
    problems += [(code, problem_with(code, in_text=True)) for code in in_text]
    assert [(line, problem) for line, problem in problems if problem] == []


def test_every_command_in_text_is_of_a_known_kind(page: Page) -> None:
    named = [code for code in page.code if is_command(code) and " " in code]
    assert [code for code in named if kind_of(code) is None] == []


def test_every_option_in_text_exists(page: Page) -> None:
    options = {code.split()[0].partition("=")[0] for code in page.code if code.startswith("--")}
    assert options - all_options() - OPTIONS_OF_OTHERS - OPTIONS_OF_VERIFY_AWS == set()


def settings_in(page: Page) -> set[str]:
    """Return the names in the first columns of the page's tables of settings."""
    tables = [table for table in page.tables if table[0][0].text in ("variable", "setting")]
    return {name for table in tables for row in table[1:] for name in row[0].code if re.fullmatch("[A-Z_]+", name)}


def test_every_setting_in_a_table_exists(page: Page) -> None:
    assert {without_stage(name) for name in settings_in(page)} - OF_STACKS - OF_DEV - OF_ADAPTERS == set()


def test_every_setting_is_in_a_table() -> None:
    documented = {without_stage(name) for name in PAGES for name in settings_in(Page(name))}
    assert (OF_STACKS | OF_DEV | OF_ADAPTERS) - documented == set()


def test_the_readme_has_every_option_of_the_development_server() -> None:
    (table,) = [
        table for table in Page("README.md").tables if [cell.text for cell in table[0][:2]] == ["variable", "option"]
    ]
    listed = {option for row in table[1:] for option in row[1].code}
    assert listed == DEV_OPTIONS


def test_every_test_that_a_page_names_exists(page: Page) -> None:
    named = {code for code in page.code if re.fullmatch(r"tests/[\w/]+(\.py)?", code)}
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_test_in_the_tables_exists() -> None:
    named = [by for sections in PROGRAMS.values() for bys in sections.values() for by in bys]
    named += [*LINES.values(), *AFTER_ITS_COMMAND.values()]
    missing = []
    for by in named:
        if isinstance(by, str):
            file, _, name = by.partition("::")
            if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text():
                missing.append(by)
    assert missing == []


def test_every_kind_of_line_is_in_a_page() -> None:
    pages = [Page(name) for name in PAGES]
    shown = {re.sub(r"\s+#.*", "", line).strip() for page in pages for line in [*command_lines(page), *page.code]}
    assert [pattern for pattern in LINES if not any(re.fullmatch(pattern, line) for line in shown)] == []


def test_the_tables_have_nothing_that_pages_lack() -> None:
    pages = {name: Page(name) for name in PAGES}
    assert {*PROGRAMS, *PRINTED, *AFTER_ITS_COMMAND} - set(pages) == set()
    begun = {name: [part[0] for block in page.blocks for part in block.parts] for name, page in pages.items()}
    stale = [
        (name, beginning)
        for name, beginnings in PRINTED.items()
        for beginning in beginnings
        if not any(re.match(beginning, line) for line in begun[name])
    ]
    assert stale == []


def workflows() -> Iterator[tuple[str, Block]]:
    for name in PAGES:
        yield from ((name, block) for block in Page(name).blocks if block.language == "yaml")


def test_the_workflow_for_ci_is_yaml_and_its_commands_can_be_typed() -> None:
    ((name, block),) = workflows()
    assert name == "docs/deploying.md"
    job = yaml.safe_load(block.text)["jobs"]["deploy"]
    assert set(job["env"]) <= OF_STACKS
    assert {"TARGET_URL", "JWT_SECRET", "STATE_BUCKET"} <= set(job["env"])
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [problem_with(command) for command in commands] == [None] * 3
    assert [command.split()[1] for command in commands] == ["deploy-staging", "deploy-production", "outputs"]
    # Terraform's wrapper puts lines of its own around the outputs that tools/stages.py reads.
    (terraform,) = [step["with"] for step in job["steps"] if "setup-terraform" in step.get("uses", "")]
    assert terraform["terraform_wrapper"] is False


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make deploy-stagign", "the Makefile has no target deploy-stagign"),
        ("make test ARG=-x", "the Makefile has no variable ARG"),
        ("slip-sockets dve", "there is no command dve"),
        ("slip-sockets token mnit", "there is no command mnit"),
        ("slip-sockets dev --tagret-url http://x/", "dev: No such option: --tagret-url"),
        ("slip-sockets dev --port eight", "dev: "),
        ("slip-sockets send lobby", "send: Missing "),
        ("JWT_SECERT=x slip-sockets cost", "JWT_SECERT is not a setting"),
        ("export TARGE_URL=https://app.example/slip", "TARGE_URL is not a setting"),
        ('pip install "path/to/slip-sockets[devel]"', "slip-sockets has no extra devel"),
        ('pip install flask "slip-sockets[dev]"', "slip-sockets is not on an index"),
        ("python -m bench.fanout", "there is no module bench.fanout"),
        ("python -m pytest tests/gatewy", "there is no tests/gatewy"),
    ],
)
def test_a_typing_error_is_found(line: str, problem: str) -> None:
    found = problem_with(line)
    assert found is not None
    assert found.startswith(problem)


def test_in_text_a_command_may_lack_arguments_but_its_options_must_exist() -> None:
    assert problem_with("slip-sockets publish", in_text=True) is None
    assert problem_with("slip-sockets publish --lnes", in_text=True) == "publish has no option --lnes"
    assert is_command("slip-sockets publish")
    assert not is_command("slip_sockets.flask")
    assert "test" in TARGETS
