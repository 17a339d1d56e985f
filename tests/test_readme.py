"""README.md is short and shows a real run; every make target has a help text."""

from __future__ import annotations

import re

import pytest

from platforms.published.manifest import ROOT
from playbooks import library
from playbooks.language.format import ActionStep, CheckStep

README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial" / "handle-your-first-alert.md").read_text()
STEPS = [step.title for step in library.find("phish-campaign-purge").steps if isinstance(step, ActionStep | CheckStep)]


def shown_steps(page: str) -> list[str]:
    return re.findall(r"^[✓!] (.*?)(?:  .*)?$", page, re.MULTILINE)


def test_the_sample_run_has_every_step_of_the_playbook() -> None:
    assert shown_steps(README) == STEPS


@pytest.mark.parametrize("step", shown_steps(TUTORIAL))
def test_each_step_in_the_tutorial_is_a_step_of_the_playbook(step: str) -> None:
    assert step in STEPS


def test_the_readme_has_fewer_than_150_lines() -> None:
    assert len(README.splitlines()) < 150


def test_every_make_target_has_a_help_text() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))
