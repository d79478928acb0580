"""The page of all commands."""

from memplus.cli.reference import reference


def test_every_command_has_its_section_with_its_flags() -> None:
    page = reference()
    for name in ("tell", "write", "ask", "models", "memories create", "eval retention"):
        assert f"\n## memplus {name}\n" in page
    section = page.split("\n## memplus write\n")[1].split("\n## ")[0]
    for flag in ("--replace", "--rows", "--durability", "--max-bytes", "--store", "--json"):
        assert flag in section
