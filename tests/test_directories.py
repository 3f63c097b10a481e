"""A directory that holds files of another kind is refused unless forced, by every command that writes one; --export's
are in test_outputs.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, in_process
from rows import ROWS
from tgmm_runs import smoke

from constructions.errors import InputError
from constructions.files import earlier, require_directory
from theory_checks.run_file import Run, encoded


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own(name: str) -> bool:
    return name in ("a", "below/", "below/b")


def test_what_a_directory_may_hold(tmp_path: Path) -> None:
    """Our files, also below, and what they were written as beside their places; all else is named."""
    asked: list[str] = []

    def held(first: str) -> str:
        asked.append(first)
        return ""

    folder = tmp_path / "d"
    require_directory("--out", folder, own, False, held)
    folder.mkdir()
    require_directory("--out", folder, own, False, held)
    assert earlier(tmp_path / "none", own) == earlier(folder, own) == asked == []
    (folder / "below").mkdir()
    ours = [folder / name for name in (".a.0123abcd", "a", "below/.b.00000000", "below/b")]
    for path in ours:
        path.touch()
    require_directory("--out", folder, own, False, held)
    assert earlier(folder, own) == ours
    assert asked == [".a.0123abcd"]
    with pytest.raises(InputError, match=r"d', which holds an older one; choose a new directory, or --force"):
        require_directory("--out", folder, own, False, lambda first: "an older one")
    for foreign in ("c", "below/a", "b", ".a.bak", ".a.0123abc", ".b.0123abcd", "below/c"):
        (folder / foreign).touch()
        with pytest.raises(InputError, match=rf"^--out is '.*d', which holds '{foreign}'; choose"):
            require_directory("--out", folder, own, False, held)
        require_directory("--out", folder, own, True, held)
        assert earlier(folder, own) == ours
        (folder / foreign).unlink()
    assert len(asked) == 1


def page(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[list[str]], int], list[str], str]:
    from theory_checks.__main__ import main

    Path("run.json").write_bytes(encoded(Run(3, False, {}, ROWS)))
    return main, ["--from", "run.json", "failed", "--html"], "index.html"


def pictures(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[list[str]], int], list[str], str]:
    from figures import m_step, style
    from figures.__main__ import main

    monkeypatch.setattr(m_step, "figure", object)
    monkeypatch.setattr(style, "png", lambda figure: b"png")
    monkeypatch.setattr(style, "svg", lambda figure: b"svg")
    return main, ["m_step", "--out"], "m_step.png"


def training(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[list[str]], int], list[str], str]:
    from tgmm.__main__ import main

    return main, ["train", "--config", str(smoke(Path.cwd(), steps=6)), "--out"], "config.toml"


@pytest.mark.parametrize("made", [page, pictures, training], ids=lambda made: made.__name__)
def test_every_command_asks_before_it_writes_into_other_files(made, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    main, words, file = made(monkeypatch)
    command: Command = in_process(main, capfd)
    done = 1 if made is page else 0  # a row failed
    folder = tmp_path / "d"
    assert command(*words, folder).code == done
    before = contents(folder)
    assert file in before
    assert command(*words, folder).code == done  # its own it takes again
    assert contents(folder) == before
    (folder / "thesis.tex").write_text("mine")
    refused = command(*words, folder)
    assert refused.out == ""
    refused.assert_refused(f"{words[-1]} is {str(folder)!r}, which holds 'thesis.tex'; choose a new directory, or --fo")
    assert contents(folder) == before | {"thesis.tex": b"mine"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.png").touch()
    command(*words, tmp_path / "photos").assert_refused("photos', which holds 'holiday.png'; choose")
    assert command(*words, folder, "--force").code == done
    assert contents(folder) == before | {"thesis.tex": b"mine"}
    command(*words, tmp_path / "thesis", "--force")
    (tmp_path / "thesis.tex").touch()
    command(*words, tmp_path / "thesis.tex").assert_refused("thesis.tex', which is not a directory")


@pytest.mark.parametrize("made", [page, training], ids=lambda made: made.__name__)
def test_other_programs_have_files_of_these_names(made, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    main, words, file = made(monkeypatch)
    command: Command = in_process(main, capfd)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / file).write_text("[server]")
    command(*words, tmp_path / "d").assert_refused(f"d', which holds {file!r}; choose a new directory, or --force")
    assert contents(tmp_path / "d") == {file: b"[server]"}
    command(*words, tmp_path / "d", "--force")
    assert contents(tmp_path / "d")[file] != b"[server]"


def test_no_picture_of_an_earlier_page_stays(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    main, words, _ = page(monkeypatch)
    command: Command = in_process(main, capfd)
    pictures = tmp_path / "d" / "figures"
    command(*words, tmp_path / "d")
    kept = contents(tmp_path / "d")
    for name in ("theorem_g8.svg", "theorem_g8.png", ".lemma_f4.svg.0123abcd"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_text("of an earlier run")
        assert f"figures/{name}" not in kept
    command(*words, tmp_path / "d")
    assert contents(tmp_path / "d") == kept
    (pictures / "holiday.png").write_text("mine")
    command(*words, tmp_path / "d").assert_refused("d', which holds 'figures/holiday.png'; choose")


def test_a_page_knows_its_files() -> None:
    from theory_checks.report import page

    files = page.files_of(Run(3, False, {}, ROWS))
    assert any(name.startswith("figures/") for name in files)
    assert all(map(page.own, files))
    assert not any(map(page.own, ("figures", "figures/index.html", "lemma_f4.svg", "figures/lemma_f4.txt", "a/b/c")))
    assert page.TITLE.encode() in files["index.html"][: page.LARGEST_HEAD]


def test_force_needs_a_directory(tmp_path, monkeypatch, capfd) -> None:
    for made in (page, pictures):
        monkeypatch.chdir(tmp_path)
        main, words, _ = made(monkeypatch)
        in_process(main, capfd)(*words[:-1], "--force").assert_refused(
            f"--force is about the directory of {words[-1]}, which is missing"
        )
