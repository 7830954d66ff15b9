"""Substitutions of a build (https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values).

Puts values in for `$NAME` and `${NAME}`; `$$` is a dollar. What a build does is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from localcloud.errors import InvalidArgument

REFERENCE = re.compile(r"\$\$|\$(?:([A-Z_][A-Z0-9_]*)|\{([^}]*)\})")
NAME = re.compile(r"_[A-Z0-9_]+")
BUILT_IN = (
    "PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL",
    "TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME",
    "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME",
)  # fmt: skip
"""Names that Cloud Build gives values to; those of triggers are empty in a build that none started."""


def substitute(build: Any, built_in: Mapping[str, str]) -> None:
    """Puts the values into a build's steps, images, tags, artifacts and options.

    Args:
        build: A google.devtools.cloudbuild.v1.Build, changed in place.
        built_in: Values of `PROJECT_ID` and the like.

    Raises:
        InvalidArgument: A name without a value, or a value that nothing asks for (unless ALLOW_LOOSE).
    """
    values = dict.fromkeys(BUILT_IN, "") | dict(built_in)
    for name, value in build.substitutions.items():
        if not NAME.fullmatch(name) and name not in BUILT_IN:
            raise InvalidArgument(
                f"invalid value for 'build.substitutions': key {name!r} must begin with an underscore and "
                "have capitals, digits and underscores alone"
            )
        values[name] = value
    # 1 is ALLOW_LOOSE.
    loose = build.options.substitution_option == 1
    used: set[str] = set()

    def expand(text: str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            name = found[1] or found[2]
            if name in values:
                used.add(name)
                return values[name]
            if found[2] is not None and not re.fullmatch(r"\w+", name):
                raise InvalidArgument(
                    f"invalid value for 'build.substitutions': {found[0]}: bash parameter expansions are not "
                    "implemented locally; write $$ for a dollar of the shell's own"
                )
            if loose:
                return ""
            if name.startswith("_"):
                raise InvalidArgument(
                    f"invalid value for 'build.substitutions': key in the template {name!r} is not matched "
                    "in the substitution data"
                )
            raise InvalidArgument(
                f"invalid value for 'build.substitutions': key in the template {name!r} is not a valid "
                "built-in substitution; write $$ for a dollar of the shell's own"
            )

        return REFERENCE.sub(value, text)

    if build.options.dynamic_substitutions:
        for name in list(values):
            values[name] = expand(values[name])
    walk(build, expand)
    unused = [name for name in build.substitutions if name not in used and name.startswith("_")]
    automapped = build.options.automap_substitutions or any(step.automap_substitutions for step in build.steps)
    if unused and not loose and not automapped:
        raise InvalidArgument(
            f"invalid value for 'build.substitutions': key in the substitution data {unused[0]!r} is not "
            "matched in the template; set options.substitution_option to ALLOW_LOOSE if that is meant"
        )
    for name in values:
        if values[name] and name in BUILT_IN:
            build.substitutions[name] = values[name]


def walk(build: Any, expand: Callable[[str], str]) -> None:
    """Applies a function to the fields of a build that may hold substitutions."""
    for step in build.steps:
        for field in ("name", "dir_", "entrypoint"):
            setattr(step, field, expand(getattr(step, field)))
        for repeated in (step.args, step.env):
            repeated[:] = [expand(text) for text in repeated]
    for repeated in (build.images, build.tags, build.options.env, build.artifacts.images):
        repeated[:] = [expand(text) for text in repeated]
    if build.artifacts.objects.location:
        build.artifacts.objects.location = expand(build.artifacts.objects.location)
        build.artifacts.objects.paths[:] = [expand(path) for path in build.artifacts.objects.paths]
    build.logs_bucket = expand(build.logs_bucket)
