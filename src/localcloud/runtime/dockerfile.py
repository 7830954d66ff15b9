"""Dockerfiles as text: instructions with their lines, variables, words and .dockerignore patterns.

Source: https://docs.docker.com/reference/dockerfile. What the instructions do is `build`'s business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.runtime.spec import BuildFailed

HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_]")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Args:
        name: `FROM`, in capitals.
        text: What stands after it, continuation lines joined.
        line: The line it begins on, from 1.
        flags: `--chown=…` and the like, by name without dashes; the empty string where there is no value.
    """

    name: str
    text: str
    line: int
    flags: Mapping[str, str]

    def error(self, message: str) -> BuildFailed:
        """A build error at this place."""
        return BuildFailed(f"Dockerfile line {self.line}: {self.name}: {message}")

    def exec_form(self) -> list[str] | None:
        """The words of the JSON form, or None if this is the shell form."""
        if not self.text.startswith("["):
            return None
        try:
            words = json.loads(self.text)
        except ValueError:
            return None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
        return None


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile.

    Raises:
        BuildFailed: A line that is no instruction, with its number.
    """
    escape = "\\"
    instructions: list[Instruction] = []
    parts: list[str] = []
    begin = 0
    directives = True
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if directives and (found := re.fullmatch(r"#\s*(\w+)\s*=\s*(.*)", stripped)):
            if found[1].lower() == "escape":
                escape = found[2]
            continue
        directives = False
        if stripped.startswith("#") or (not stripped and not parts):
            continue
        if not stripped:
            continue
        begin = begin or number
        line = raw.rstrip() if parts else raw.strip()
        if line.endswith(escape):
            parts.append(line[: -len(escape)])
            continue
        parts.append(line)
        instructions.append(instruction(" ".join(part.strip() for part in parts), begin))
        parts, begin = [], 0
    if parts:
        instructions.append(instruction(" ".join(part.strip() for part in parts), begin))
    return instructions


def instruction(text: str, line: int) -> Instruction:
    """One instruction from its joined lines."""
    name, _, rest = text.strip().partition(" ")
    if not name.isalpha():
        raise BuildFailed(f"Dockerfile line {line}: {name!r} is no instruction")
    flags: dict[str, str] = {}
    rest = rest.strip()
    while found := re.match(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)", rest):
        flags[found[1]] = found[2] or ""
        rest = rest[found.end() :]
    made = Instruction(name.upper(), rest, line, flags)
    if made.name in ("RUN", "COPY", "ADD") and HEREDOC.search(rest):
        raise made.error("here-documents are not carried out; put the text into a file and COPY it")
    return made


VARIABLE = re.compile(r"\\\$|\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Puts variables in: `$A`, `${A}`, `${A:-default}`, `${A:+instead}`; an unset one is empty."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "\\$":
            return "$"
        known = variables.get(found[1] or found[2], "")
        if found[3] == "-":
            return known or expand(found[4], variables)
        if found[3] == "+":
            return expand(found[4], variables) if known else ""
        return known

    return VARIABLE.sub(value, text)


def words(text: str) -> list[str]:
    """Splits at white space outside quotes; quotes go, backslashes protect the next character."""
    found: list[str] = []
    current: list[str] | None = None
    quote = ""
    escaped = False
    for char in text:
        if escaped:
            current = [*(current or []), char]
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            if char == quote:
                quote = ""
            else:
                current = [*(current or []), char]
        elif char in "\"'":
            quote, current = char, current or []
        elif char.isspace():
            if current is not None:
                found.append("".join(current))
            current = None
        else:
            current = [*(current or []), char]
    if current is not None:
        found.append("".join(current))
    return found


def pairs(made: Instruction, text: str) -> dict[str, str]:
    """`A=1 B="two words"`, or the old form `A one value` that ENV still knows."""
    split = words(text)
    if split and "=" not in split[0]:
        name, _, value = text.strip().partition(" ")
        if not value:
            raise made.error(f"{name} has no value: write {name}=VALUE")
        return {name: value.strip()}
    result: dict[str, str] = {}
    for word in split:
        name, equals, value = word.partition("=")
        if not equals:
            raise made.error(f"{word!r} has no value: write {word}=VALUE")
        result[name] = value
    return result


class Ignore:
    """The patterns of a .dockerignore; the last that matches decides, `!` takes a path back in."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keep = pattern.startswith("!")
            pattern = pattern.lstrip("!").strip().strip("/")
            self.rules.append((re.compile(glob_regex(pattern) + r"(/.*)?"), not keep))

    @classmethod
    def of(cls, context: Path, dockerfile: Path | None) -> Ignore:
        """`NAME.dockerignore` beside the Dockerfile if there is one, else the context's own."""
        candidates = [context / ".dockerignore"]
        if dockerfile is not None:
            candidates.insert(0, dockerfile.with_name(dockerfile.name + ".dockerignore"))
        for candidate in candidates:
            if candidate.is_file():
                return cls(candidate.read_text().splitlines())
        return cls([])

    def __call__(self, path: str) -> bool:
        """Whether a path below the context, with `/`, is left out."""
        ignored = False
        for pattern, leave_out in self.rules:
            if pattern.fullmatch(path):
                ignored = leave_out
        return ignored


def glob_regex(pattern: str) -> str:
    """Go's filepath.Match with `**` for any number of folders."""
    result = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            result, at = result + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            result, at = result + ".*", at + 2
        elif pattern[at] == "*":
            result, at = result + "[^/]*", at + 1
        elif pattern[at] == "?":
            result, at = result + "[^/]", at + 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 1)) > 0:
            result, at = result + "[" + pattern[at + 1 : end].replace("\\", "\\\\") + "]", end + 1
        else:
            at += pattern[at] == "\\" and at + 1 < len(pattern)
            result, at = result + re.escape(pattern[at]), at + 1
    return result
