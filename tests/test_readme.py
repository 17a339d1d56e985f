"""README.md is short and shows a real run; every make target has a help text."""

from __future__ import annotations

import re

import pytest

from platforms.published.manifest import ROOT
from playbooks import library
from playbooks.language.bundling import every_step
from playbooks.language.format import ActionStep, CheckStep

README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial" / "handle-your-first-alert.md").read_text()
PURGE = library.find("phish-campaign-purge")
STEPS = [step for step in (*every_step(PURGE), *PURGE.at_end) if isinstance(step, ActionStep | CheckStep)]
TITLES = [step.title for step in STEPS]


def shown_steps(page: str) -> list[str]:
    return re.findall(r"^[✓!] (.*?)(?:  .*)?$", page, re.MULTILINE)


def test_the_sample_run_has_every_step_of_the_playbook() -> None:
    shown = shown_steps(README)
    assert shown == [title for title in TITLES if title in shown]
    # The run of the sample skips steps that have a condition.
    assert [step.title for step in STEPS if step.title not in shown and step.when is True] == []


@pytest.mark.parametrize("step", shown_steps(TUTORIAL))
def test_each_step_in_the_tutorial_is_a_step_of_the_playbook(step: str) -> None:
    assert step in TITLES


def test_the_readme_has_fewer_than_150_lines() -> None:
    assert len(README.splitlines()) < 150


def test_every_make_target_has_a_help_text() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))
