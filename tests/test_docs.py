"""The documentation: every link has a target, generated pages are up to date, and every command runs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from core import errors
from core.errors import PackError
from core.instants import format_instant
from platforms.cli.command_list import app
from platforms.published import reference, reference_tables
from platforms.published.manifest import ROOT
from playbooks.language import loading
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox, start
from sandbox.settings import Pace, Settings
from tests.command_server import CLIENT, command_server
from tests.doc_blocks import Block, read_blocks, write_script

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# The pages whose commands are run.
TAUGHT = [page for page in PAGES if page.name != "CONTRIBUTING.md" and page.parent.name != "benchmarks"]
KINDS = ("tutorial", "how-to", "reference", "explanation")

# An ended job, with its ID in $job_id.
ENDED_JOB = """
cfes create-move-job --sender billing@invoice-portal.example --start 2026-11-13T00:00:00Z --no-detections-only \\
    --destination JunkEmail --max-messages 1000 --idempotency-key earlier --output json > made.json
job_id=$(python3 -c 'import json; print(json.load(open("made.json"))["job_id"])')
cfes wait-for-job --job-id "$job_id" > waited.json
"""
# The page shows what a terminal shows. Standard error is kept for check_output.
AS_ON_A_TERMINAL = "export TABLES=1 COLUMNS=110; exec 2> shown.txt"
TWO_ALERTS = """
python3 -c 'import json; one = json.load(open("alert.json"))
for number in "12": print(json.dumps({**one, "AlertID": f"alert-{number}"}))' > alerts.ndjson
"""
# A service on a free port, and in `auth` the header of a caller with every scope. It ends with the page's script.
SERVICE = """
cfes token create tines --scopes read,write,approve,alerts --output json 2> /dev/null > token.json
(umask 077 && printf 'Authorization: Bearer %s\\n' "$(jq -r .token token.json)" > auth)
rm token.json
exec 3< <(exec "$PYTHON" -m cfes serve --port 0 2>&1)
service=$!
trap 'rm -f auth; kill $service; while read -r line <&3; do :; done' EXIT
read -r _ _ SERVICE _ <&3
SERVICE=${SERVICE%.}
"""
APPROVED_SERVICE = """
cfes policy init policy > /dev/null
export CFES_POLICY=$PWD/policy/policy.yaml CFES_PLAN_KEY_FILE=$PWD/policy/plan.key
openssl genpkey -algorithm ed25519 -out bob.pem
chmod 600 bob.pem
cat >> policy/policy.yaml <<END
own_domains: [corp.example]
approval_needed:
  - {more_than_messages: 0, approvals: 1}
approvers:
  - name: bob
    public_key: |
$(openssl pkey -in bob.pem -pubout | sed 's/^/      /')
END
"""
# The rules of the page, before its service starts.
ALERT_RULES = """
page=$PYTHONPATH/docs/how-to/receive-alerts-from-logpush.md
sed -n '/^```yaml alert-rules.yaml$/,/^```$/{/^```/!p}' "$page" > rules.yaml
export CFES_ALERT_RULES=$PWD/rules.yaml
"""
# Commands that run before the first block of a page.
PREPARATION: dict[str, str] = {
    "docs/how-to/run-the-http-service.md": SERVICE,
    "docs/how-to/import-into-no-code-platforms.md": SERVICE,
    "docs/how-to/receive-alerts-from-logpush.md": ALERT_RULES + SERVICE,
    "docs/how-to/approve-over-http.md": APPROVED_SERVICE + SERVICE,
    "docs/tutorial/handle-your-first-alert.md": AS_ON_A_TERMINAL,
    "docs/how-to/undo-and-retry.md": ENDED_JOB,
    "docs/how-to/handle-several-alerts.md": TWO_ALERTS,
    "docs/how-to/verify-an-evidence-bundle.md": ENDED_JOB + AS_ON_A_TERMINAL,
    "docs/how-to/verify-against-logpush.md": ENDED_JOB
    + 'curl -s "$SANDBOX/_sandbox/post_delivery_events" > events.ndjson',
    "docs/how-to/export-without-names.md": ENDED_JOB,
    "docs/how-to/restore-mail-from-an-evidence-bundle.md": ENDED_JOB
    + 'cfes export-job-messages --job-id "$job_id" --evidence bundle --destination evidence.zip > exported.json',
    "docs/how-to/stop-a-job-and-report.md": ENDED_JOB,
    "docs/how-to/retry-failed-messages.md": ENDED_JOB,
    "docs/reference/tokens.md": "cfes token create tines --scopes read,write > /dev/null",
    "docs/how-to/require-two-approvers.md": "openssl genpkey -algorithm ed25519 -out carol.pem\n"
    "openssl pkey -in carol.pem -pubout -out carol.pub",
}

# Blocks that end with another exit code than 0, by their first line.
EXITS: dict[str, dict[str, int]] = {
    "docs/tutorial/handle-your-first-alert.md": {
        # The job's failed messages are still delivered.
        "cfes playbook run phish-campaign-purge --input examples/alert.json": 8,
    },
    "docs/how-to/handle-several-alerts.md": {"cfes playbook run phish-campaign-purge --input alerts.ndjson": 2},
    "docs/how-to/handle-a-spoofed-sender.md": {
        "cfes playbook run phish-campaign-purge --input alert.json --set search_by=link_domain --plan-only "
        "--out by-link.json": 3,
    },
    "docs/how-to/restore-mail-from-an-evidence-bundle.md": {
        "cfes playbook run restore-from-evidence --set export=evidence.zip": 3,
        # In the sandbox some moves and some recipients fail.
        "cfes playbook run restore-from-evidence --set export=evidence.zip --set allow_malicious=true": 8,
    },
    "docs/how-to/retry-failed-messages.md": {'cfes playbook run retry-failures --set job_id="$job_id"': 8},
    "docs/how-to/sweep-for-late-copies.md": {
        "cfes playbook run late-copy-sweep --input plan.json --set alert=@alert.json --set after='[0]'": 8,
    },
    "docs/how-to/find-a-campaign-by-its-content.md": {"cfes playbook run campaign-by-content --input alert.json": 6},
    "docs/how-to/write-a-playbook.md": {"cfes playbook run look-first.yaml --input alert.json --set limit=1": 3},
    "docs/how-to/call-from-a-shell.md": {
        "cfes get-job --job-id 00000000-0000-4000-8000-000000000000 > answer.json": 5,
    },
    "docs/how-to/verify-an-evidence-bundle.md": {"cfes verify case-42.zip --public-key evidence.pub": 8},
}

# Why a block marked `no-run` is not run, by its first line.
SETUP = "it sets up the machine, or starts something that this test starts itself"
VALUES = "its values are the reader's own"
TOKEN = "it prints a token: tests/platforms/cli/test_token_commands.py runs it"
NOT_RUN: dict[str, str] = {
    "make demo": SETUP,
    "make setup && . .venv/bin/activate": SETUP,
    "make setup": SETUP,
    "make sandbox": SETUP,
    "make audit": "it needs the network",
    "make sbom": "tests/supply_chain tests it",
    "pip install --require-hashes --no-deps -r requirements-hashed.txt": "it needs the network",
    "cfes sandbox --alert examples/alert.json --messages 20000 --port 8080": SETUP,
    'cfes sandbox --alert examples/alert.json --messages 3000 --port 8080 --at "$(date -u +%Y-%m-%dT%H:%M:%SZ)"': SETUP,
    "export CLOUDFLARE_BASE_URL=http://127.0.0.1:44857/client/v4": VALUES,
    "export CLOUDFLARE_API_TOKEN=... CLOUDFLARE_ACCOUNT_ID=... CFES_POLICY=policy.yaml": VALUES,
    "export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_REGION=eu-central-1": VALUES,
    "export AWS_ENDPOINT_URL=https://ACCOUNT_ID.r2.cloudflarestorage.com AWS_REGION=auto": VALUES,
    "export CFES_NOTIFY_CHANNELS=soc=slack,soar=webhook": VALUES,
    "export CFES_TEMPORAL_ADDRESS=temporal.example:7233 CFES_TEMPORAL_NAMESPACE=mail": VALUES,
    "CFES_TEMPORAL_BUILD_ID=2026-12-01 cfes worker": SETUP,
    "cfes playbook start phish-campaign-purge --input alert.json": SETUP,
    "cfes playbook runs --engine temporal --status waiting": SETUP,
    "install -D -o root -g root -m 0644 policy.yaml /etc/cfes/policy.yaml": "it changes /etc",
    "sqlite3 ~/.local/state/cfes/runs.db \"VACUUM INTO '/backup/runs.db'\"": VALUES,
    "cfes playbook run late-copy-sweep --input plan.json --set alert=@alert.json": "it takes six hours",
    "cfes playbook show RUN": VALUES,
    "cfes token create tines --scopes read,write --expires-in 90d --rate-share 0.5": TOKEN,
    "cfes token rotate tines --overlap 24h": TOKEN,
    "export CLOUDFLARE_ACCOUNT_ID=... CLOUDFLARE_API_TOKEN_FILE=/etc/cfes/cloudflare_api_token": VALUES,
    "(umask 077 && printf 'Authorization: Bearer %s\\n' \"$TOKEN\" > auth)": SETUP,
    "cfes token create approvals --scopes read,approve": TOKEN,
    "install -m 0644 deploy/cfes.sysusers.conf /etc/sysusers.d/cfes.conf && systemd-sysusers": "it changes /etc",
    "sudo -u cfes CFES_STATE_DIR=/var/lib/cfes /opt/cfes/bin/cfes token create tines --scopes read,write": TOKEN,
    "cfes token create logpush --scopes alerts --expires-in never": TOKEN,
    "curl https://api.cloudflare.com/client/v4/accounts/$CLOUDFLARE_ACCOUNT_ID/logpush/jobs \\": "it needs an account",
    "curl -X POST https://soar.example/v1/playbooks/phish-campaign-purge/runs \\": VALUES,
    "mkdir -m 0700 deploy/secrets": "it needs Docker",
    'aws stepfunctions send-task-success --task-token "$task_token" \\': "it needs an AWS account",
    "cfes run advance-run --params call.json > answer.json": "tests/platforms/test_advance_run.py runs it",
    "import re": "tests/remediation/exports/test_csv_excel.py runs it on many cells",
}

# The service of the pages. The one of a test is on a free port.
SERVICE_IN_PAGES = "http://127.0.0.1:8096"

# The start of the searches in the pages. It is replaced because the alert must be of today: approvals use the real
# time.
START_IN_PAGES = "2026-11-13T00:00:00Z"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """Return a page without its code blocks and code spans."""
    return re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, formed as GitHub forms them. No page has the same heading twice."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_of_a_page_has_a_target(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        if not found.exists() or (anchor and anchor not in anchors_of(found)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name in KINDS], ids=name_of)
def test_each_page_is_listed_in_the_index(page: Path) -> None:
    assert f"]({page.relative_to(ROOT / 'docs')})" in (ROOT / "docs" / "README.md").read_text()


def test_the_generated_pages_are_up_to_date() -> None:
    assert [name_of(page) for page in reference.outdated()] == [], "run `make manifest`"


def test_a_page_without_the_marks_of_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="settings"):
        reference.filled("# Settings\n", {"settings": lambda: "| a |"})


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{name_of(page)} names {named - targets}"


JQ = """
import json, re, sys
given = sys.argv[1:]
expression = next(each for each in given if each[0] in ".{")
names = given[given.index(expression) + 1:]
values = [json.load(open(name)) for name in names] or [json.load(sys.stdin)]
value = values if "-s" in given else values[0]
path = re.fullmatch(r"[{: a-z]*([.][][.a-z0-9_]*)[ }]*", expression)[1]
for part in re.findall(r"[a-z_]+|[0-9]+", path):
    value = value[int(part) if part.isdigit() else part]
for key in re.findall("([a-z]+): ", expression)[::-1]:
    value = {key: value}
print(value if "-r" in given and isinstance(value, str) else json.dumps(value))
"""
CURL = """
import argparse, pathlib, sys, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("-H", action="append", default=[])
for flag in ("-d", "-X", "-o", "--data-binary"):
    parser.add_argument(flag)
for flag in "sN":
    parser.add_argument(f"-{flag}", action="store_true")
parser.add_argument("url")
given = parser.parse_args()
def content(text):
    return pathlib.Path(text[1:]).read_bytes() if text[:1] == "@" else text.encode()
headers = dict(content(each).decode().strip().split(": ") for each in given.H)
data = given.data_binary or given.d
call = urllib.request.Request(given.url, content(data) if data else None, headers, method=given.X)
answer = urllib.request.urlopen(call).read()
pathlib.Path(given.o).write_bytes(answer) if given.o else sys.stdout.buffer.write(answer)
"""
COMMANDS = {
    # There is no terminal: --yes answers the questions.
    "cfes": """case "$1 ${2-}" in
"playbook run") case "$*" in *--plan-only*) ;; *) set -- "$@" --yes ;; esac ;;
"approve "*) set -- "$@" --yes ;;
esac
if [ -n "${TABLES-}" ]; then set -- "$@" --output table; fi
exec "$PYTHON" -SEc "$CLIENT" "$@"
""",
    # tests/cfes starts programs in processes of their own.
    "python3": """case "$1" in
*.python) exec "$PYTHON" -SEc "$CLIENT" "$@" ;;
*) exec "$PYTHON" "$@" ;;
esac
""",
    # Replacements, so that the tests need neither program.
    "jq": f'exec "$PYTHON" -c \'{JQ}\' "$@"\n',
    "curl": f'exec "$PYTHON" -c \'{CURL}\' "$@"\n',
}


def mask_line(line: str) -> str:
    """Return a line without the parts that differ between runs: IDs, numbers, durations and repeated spaces.

    A step that took no time has no duration.
    """
    without_ids = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", re.sub(r" +\([\d.]+ s\)$", "", line))
    return " ".join(re.sub(r"\d[\d,.:]*(T[\d:.]+Z)?", "0", without_ids).split())


def check_output(page: str, printed: str, folder: Path) -> None:
    """Assert that each output line on the page, except questions, is the start of a printed line."""
    blocks = [block for block in read_blocks(ROOT / page) if block.language == "text"]
    shown = [line for block in blocks for line in block.lines if line and "[y/N]" not in line]
    seen = [mask_line(line) for line in [*printed.splitlines(), *(folder / "shown.txt").read_text().splitlines()]]
    assert shown
    missing = [line for line in shown if not any(one.startswith(mask_line(line)) for one in seen)]
    assert not missing, "\n".join([*missing, "--- the commands printed:", *seen])


def check_shell(printed: str, folder: Path) -> None:
    outcome, complete, *ended = printed.split()
    assert outcome in ("succeeded", "partial")
    assert (complete, ended) == ("True", ["True", "True"])
    assert len((folder / "case-42.csv").read_text().splitlines()) > 20


def check_python(printed: str, folder: Path) -> None:
    outcome, rows, complete = printed.splitlines()[0].split()
    assert outcome in ("succeeded", "partial")
    assert (int(rows) >= 20, complete) == (True, "True")
    assert len((folder / "case-42.ndjson").read_text().splitlines()) == int(rows)


def check_approved(printed: str, folder: Path) -> None:
    done = json.loads(printed.splitlines()[-1])
    assert (done["status"], done["outputs"]["complete"]) == ("completed", True)
    bundle = Path(done["directory"]) / "evidence.zip"
    assert json.loads(zipfile.ZipFile(folder / bundle).read("request.json"))["approved_by"] == ["bob", "carol"]


def check_ended_run(printed: str, folder: Path) -> None:
    """In the sandbox some messages of the job fail, so the run is incomplete."""
    ended = json.loads((folder / "ended.json").read_text())
    assert printed.splitlines()[-1].endswith(ended["status"])
    assert (ended["status"], ended["outputs"]["complete"]) in (("completed", True), ("incomplete", True))
    assert ended["requested_by"] == "tines"


def check_one_job(_printed: str, folder: Path) -> None:
    assert len(json.loads((folder / "truth.json").read_text())["jobs"]) == 1


# Checks after the commands of a page, beyond exit codes: of the printed text and of the folder.
CHECKS: dict[str, Callable[[str, Path], None]] = {
    **{page: partial(check_output, page) for page, lines in PREPARATION.items() if AS_ON_A_TERMINAL in lines},
    "docs/how-to/call-from-a-shell.md": check_shell,
    "docs/how-to/call-from-python.md": check_python,
    "docs/how-to/require-two-approvers.md": check_approved,
    "docs/how-to/rehearse-failures.md": check_one_job,
    "docs/how-to/approve-over-http.md": check_ended_run,
}


Ended = subprocess.CompletedProcess[str]
RUN = [page for page in TAUGHT if any(block.runs for block in read_blocks(page))]


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[tuple[Ended, Path]]]]:
    """Run the commands of each selected page, four pages at a time. Yield the futures of their results."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = [test.callspec.id for test in tests if test.function is test_the_commands_of_a_page_run]
    with command_server(tmp_path_factory.mktemp("commands")) as server, ThreadPoolExecutor(4) as pool:
        pages = [page for page in RUN if name_of(page) in chosen]
        yield {page: pool.submit(run_commands, page, server, tmp_path_factory.mktemp("page")) for page in pages}


def run_commands(page: Path, server: str, folder: Path) -> tuple[Ended, Path]:
    """Run the commands of a page against a sandbox of its own. Return how they ended, and their working directory."""
    now = datetime.now(UTC)
    alert = json.loads((ROOT / "examples" / "alert.json").read_text())
    alert["Timestamp"] = format_instant(now - timedelta(hours=1))
    (folder / "work" / "examples").mkdir(parents=True)
    for name in ("alert.json", "examples/alert.json"):
        (folder / "work" / name).write_text(json.dumps(alert))
    (folder / "bin").mkdir()
    for name, lines in COMMANDS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{lines}")
        (folder / "bin" / name).chmod(0o700)
    blocks = [Block("sh", "", PREPARATION.get(name_of(page), "")), *read_blocks(page)]
    script = write_script([set_values(block, now) for block in blocks], folder / "blocks", EXITS.get(name_of(page), {}))
    pace = Pace(start_delay=0.1, discover_rate=2000, process_rate=2000, retry_delay=0.1)
    settings = Settings(messages=100, alert=alert, campaign_size=20, pace=pace, at=int(now.timestamp() * SECOND))
    with start(settings) as sandbox:
        environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder / "work"),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "CLIENT": CLIENT,
            "CFES_SERVER": server,
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
            "CFES_LISTING_LAG_SECONDS": "0.2",
            "CFES_LOG": "off",
            "SANDBOX": sandbox.origin,
            "READ_TOKEN": RunningSandbox.read_token,
        }
        command = ["bash", "-c", script]
        ended = subprocess.run(
            command, cwd=folder / "work", env=environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    return ended, folder / "work"


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_commands_of_a_page_run(page: Path, runs: dict[Path, Future[tuple[Ended, Path]]]) -> None:
    ended, folder = runs[page].result()
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    if name_of(page) in CHECKS:
        CHECKS[name_of(page)](ended.stdout, folder)


def set_values(block: Block, now: datetime) -> Block:
    """Return a block with searches that start seven days ago, and with the address of the test's service."""
    text = block.text.replace(START_IN_PAGES, format_instant(now - timedelta(days=7)))
    return Block(block.language, block.label, text.replace(SERVICE_IN_PAGES, "$SERVICE"))


def test_each_block_that_is_not_run_has_a_reason() -> None:
    not_run = {block.first_line for page in TAUGHT for block in read_blocks(page) if block.label == "no-run"}
    assert not_run == NOT_RUN.keys()


def test_each_exception_belongs_to_an_existing_block() -> None:
    run = {name_of(page): {block.first_line for block in read_blocks(page) if block.runs} for page in TAUGHT}
    assert PREPARATION.keys() | CHECKS.keys() | EXITS.keys() <= run.keys()
    assert [page for page, exits in EXITS.items() if not exits.keys() <= run[page]] == []


def test_each_json_block_is_valid() -> None:
    for page in TAUGHT:
        for block in read_blocks(page):
            if block.language == "json":
                json.loads(block.text)


def find_unknown_words(command: str) -> list[str]:
    """Return the words of a `cfes` command that are neither a command nor a flag."""
    words = [word for word in command.split("|", maxsplit=1)[0].split() if not word.startswith(("<", "..."))][1:]
    group: Any = get_command(app)
    while words and not words[0].startswith("-") and hasattr(group, "get_command"):
        found = group.get_command(Context(group, resilient_parsing=True), words[0])
        if found is None:
            return [words[0]]
        group, words = found, words[1:]
    if group.name == "sandbox":  # it passes its flags on to the sandbox's own parser
        return []
    known = {name for param in group.get_params(Context(group)) for name in (*param.opts, *param.secondary_opts)}
    return [word for word in words if word.startswith("--") and word not in known | {"--help"}]


@pytest.mark.parametrize("page", [page for page in TAUGHT if page.name != "CHANGELOG.md"], ids=name_of)
def test_each_command_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`(cfes [a-z][^`\n]*)`", page.read_text())
    named += [line for block in read_blocks(page) for line in block.lines if line.startswith("cfes ")]
    assert [(command, words) for command in named if (words := find_unknown_words(command))] == []


PRODUCT = ("actions", "cfes", "connectors", "core", "platforms", "playbooks", "remediation", "sandbox")
# Names of other products, and of a function that a page defines.
FOREIGN = {"claude_desktop_config", "https_proxy", "value_of"}
FOREIGN |= {"destination_conf", "failing_logpush_job_disabled_alert", "field_names", "sample_rate"}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every name in the product's code, and in manifest.json."""
    files = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml")]
    text = "\n".join(path.read_text() for path in [*files, ROOT / "manifest.json"])
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    "page", [page for page in TAUGHT if page.name not in ("CHANGELOG.md", "threats.md")], ids=name_of
)
def test_each_field_and_setting_that_a_page_names_exists(page: Path, names: set[str]) -> None:
    code = " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\bCFES_[A-Z_]+\b", code))
    assert named - FOREIGN - names == set()


def test_an_unknown_command_or_flag_is_reported() -> None:
    assert find_unknown_words("cfes get-job --job-id 1 --output json") == []
    assert find_unknown_words("cfes playbook run phish-campaign-purge --each") == []
    assert find_unknown_words("cfes playbook begin x") == ["begin"]
    assert find_unknown_words("cfes get-jobs") == ["get-jobs"]
    assert find_unknown_words("cfes get-job --jobid 1") == ["--jobid"]


def test_each_error_type_has_a_description() -> None:
    table = reference_tables.errors().splitlines()[2:]
    assert len(table) > 40
    assert [row for row in table if not row.split(" | ")[2].strip()] == []


def test_the_reference_lists_every_error_type_of_playbooks_and_commands() -> None:
    names = {kind.__name__ for kind in reference_tables.error_types()}
    for path in [*(ROOT / "playbooks").rglob("*.py"), *(ROOT / "platforms").rglob("*.py")]:
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        kinds = [one for one in classes if any(isinstance(base, ast.Name) and base.id in names for base in one.bases)]
        assert {kind.name for kind in kinds} <= names, f"add {path.stem} to reference_tables.WITH_ERRORS"


def test_each_error_that_a_state_machine_matches_by_name_exists() -> None:
    page = (ROOT / "docs" / "how-to" / "call-from-aws-lambda.md").read_text()
    matched = [name for names in re.findall(r'"ErrorEquals": (\[.*?\])', page) for name in json.loads(names)]
    assert len(matched) > 2
    assert [name for name in matched if not hasattr(errors, name)] == []


def test_the_playbook_of_the_documentation_loads() -> None:
    page = ROOT / "docs" / "how-to" / "write-a-playbook.md"
    [block] = [block for block in read_blocks(page) if block.language == "yaml"]
    assert loading.load(block.text).id == "look-first"


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    def codes(kind: type[PackError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert codes(PackError) <= {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
