"""The builder `gcr.io/cloud-builders/docker` on the local image registry: build, tag, push and pull.

Reads the arguments as docker would and refuses by name what the registry cannot do. Steps are `run`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from localcloud.errors import InvalidArgument, Unimplemented
from localcloud.runtime import BuildFailed, ImageNotFound, ImageStore

IMAGES = ("gcr.io/cloud-builders/docker", "gcr.io/cloud-builders/docker:latest")
IGNORED = {"--no-cache", "--pull", "--quiet", "-q", "--rm", "--force-rm", "--compress", "--squash", "--load"}
IGNORED_WITH_VALUE = {
    "--cache-from", "--cache-to", "--network", "--progress", "--platform", "--label", "--memory", "-m",
    "--cpus",
}  # fmt: skip


def docker(images: ImageStore, arguments: Sequence[str], folder: Path, root: Path, log: Callable[[str], None]) -> int:
    """Carries out one docker command and gives its exit code.

    Args:
        images: The registry.
        arguments: What follows `docker`.
        folder: The working directory, in the workspace.
        root: The workspace, which the step knows as `/workspace`.
        log: Receives each line of output.

    Raises:
        InvalidArgument: Arguments that docker would not take either.
        Unimplemented: A command or option that the local registry does not do, by name.
    """
    if not arguments:
        raise InvalidArgument("gcr.io/cloud-builders/docker: args is empty; give `build`, `tag`, `push` or `pull`")
    verb, rest = arguments[0], list(arguments[1:])
    if verb in ("image", "buildx", "builder") and rest:
        verb, rest = rest[0], rest[1:]
    try:
        if verb == "build":
            build(images, rest, folder, root, log)
        elif verb == "tag" and len(rest) == 2:
            images.tag(rest[0], rest[1])
        elif verb == "push":
            push(images, rest, log)
        elif verb == "pull":
            for uri in positional(rest):
                log(f"{images.resolve(uri).digest} {uri}")
        elif verb == "images":
            for image in images.list():
                log(f"{image.uri} {image.digest}")
        else:
            raise Unimplemented(f"`docker {verb}` is not done by the local Cloud Build")
    except (BuildFailed, ImageNotFound) as error:
        for line in error.message.splitlines():
            log(line)
        return 1
    return 0


def build(images: ImageStore, arguments: list[str], folder: Path, root: Path, log: Callable[[str], None]) -> None:
    """`docker build`."""
    tags: list[str] = []
    values: dict[str, str] = {}
    dockerfile = ""
    contexts: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if option in IGNORED:
            continue
        if option in ("-t", "--tag", "-f", "--file", "--build-arg") or option in IGNORED_WITH_VALUE:
            if not equals:
                if not rest:
                    raise InvalidArgument(f"docker build {option}: a value is missing")
                value = rest.pop(0)
            if option in ("-t", "--tag"):
                tags.append(value)
            elif option in ("-f", "--file"):
                dockerfile = value
            elif option == "--build-arg":
                name, _, given = value.partition("=")
                values[name] = given
            else:
                log(f"passed over: {option} {value} (it has no meaning for the local registry)")
        elif word.startswith("-") and word != "-":
            raise Unimplemented(f"docker build {option}: this option is not done by the local Cloud Build")
        else:
            contexts.append(word)
    if len(contexts) != 1 or contexts[0] == "-":
        raise InvalidArgument("docker build: exactly one context folder is needed, such as `.`")
    if not tags:
        raise InvalidArgument("docker build: name the image with -t; an image without a name is lost")
    context = inside(folder, root, contexts[0])
    # Docker takes the path of the Dockerfile from the working directory, its default from the context.
    path = inside(folder, root, dockerfile) if dockerfile else context / "Dockerfile"
    image = images.build(context, path, tags[0], build_args=values, log=log)
    for tag in tags[1:]:
        images.tag(image.uri, tag)
        log(f"Tagged {tag}")


def push(images: ImageStore, arguments: list[str], log: Callable[[str], None]) -> None:
    """`docker push`: the registry holds what was built, so it is enough that the image is there."""
    every = "--all-tags" in arguments or "-a" in arguments
    for uri in positional(arguments):
        found = [image for image in images.list() if every and image.uri.rpartition(":")[0] == uri]
        for image in found or [images.resolve(uri)]:
            log(f"The push refers to repository [{image.uri.rpartition(':')[0]}]")
            log(f"{image.uri.rpartition(':')[2]}: digest: {image.digest}")


def positional(arguments: Sequence[str]) -> list[str]:
    """The arguments that are no options."""
    found = [word for word in arguments if not word.startswith("-")]
    if not found:
        raise InvalidArgument("docker: name an image")
    return found


def inside(folder: Path, root: Path, path: str) -> Path:
    """Where a path of a step is on this machine.

    Raises:
        InvalidArgument: It lies outside /workspace.
    """
    if path == "/workspace" or path.startswith("/workspace/"):
        path = str(root) + path.removeprefix("/workspace")
    real = (folder / path).resolve()
    if not real.is_relative_to(root.resolve()):
        raise InvalidArgument(f"docker build: {path!r} lies outside /workspace")
    return real
