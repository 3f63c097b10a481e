"""The README shows what the commands print."""

import re
from pathlib import Path

import pytest

from theory_checks.coverage import narrowest
from theory_checks.ledger import REGISTRY, closure
from theory_checks.running import load_statements

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROUNDING = 1e-14  # of the demos' float64
PAGES = [ROOT / "README.md", *sorted((ROOT / "proofs_notes").glob("*.md"))]


def test_the_ledger_shown_has_every_row_with_its_coverage_and_status() -> None:
    load_statements()
    row = r"^(\S+) +(?:verbatim|recovered|not recovered|ours) +\w+ +(-|\w+) +(no claim|\w+) "
    shown = {id: (coverage, status) for id, coverage, status in re.findall(row, README, re.MULTILINE)}
    covers = {id: narrowest(REGISTRY[below].coverage for below in closure([id], REGISTRY)) for id in REGISTRY}
    assert shown == {id: (covers[id] if made.checked else "-", made.claim) for id, made in REGISTRY.items()}


def test_the_demos_shown_are_the_demos(em_command, tensor_command) -> None:
    """Line by line, with their numbers; the seconds and the differences that are rounding are the machine's."""

    def lines(text: str) -> list[str]:
        timed = re.sub(r"[\d.]+ s,", "# s,", text)
        small = re.sub(r"\d\.\d+e-\d+", lambda found: "#" if float(found[0]) < ROUNDING else found[0], timed)
        return [" ".join(line.split()) for line in small.splitlines()]

    shown = lines(README)
    for output in (em_command().out, tensor_command("--layers", 6, "--exact").out):
        printed = lines(output)
        assert sum("#" in line for line in printed) in (2, 4)  # the numbers left out: no more than these lines
        assert [line for line in printed if line not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_statement_has_a_note() -> None:
    load_statements()
    index = (ROOT / "proofs_notes" / "README.md").read_text(encoding="utf-8")
    assert set(REGISTRY) <= set(re.findall(r"`([a-z0-9-]+)`", index))
