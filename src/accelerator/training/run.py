"""One training run, in order: settings, code, places and columns are checked before a row is read.

Each step is a module beside this one; the command line and the exit code are __main__'s. What needs pandas and
pyarrow is imported where it is used: a wrong setting is told before they are loaded.
"""

from __future__ import annotations

import inspect
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerator import config as settings
from accelerator.config import Config
from accelerator.contract import Plugin, load_plugin, place_of
from accelerator.errors import AcceleratorError, CodeError, ConfigError, DataError
from accelerator.storage import Folder, folder
from accelerator.training import arguments, metrics, script
from accelerator.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from accelerator.training.data import Data


def run(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Train as the command line, mlops.yaml and Vertex AI's variables say; returns when the model is saved.

    Raises:
        AcceleratorError: What is wrong, for the end of the log.
        Stopped: The job was stopped, and its state is in AIP_CHECKPOINT_DIR.
    """
    began = time.monotonic()
    given = arguments.split(argv)
    config = settings.load(
        given.config or environment.get("MLOPS_CONFIG") or settings.FILE_NAME,
        overrides=given.overrides,
        environment=environment,
    )
    code = (config.directory / config.model.code).resolve()
    if script.is_script(code):
        log(f"running {config.model.code} as a script")
        script.run(config.directory, config.model.code, given.rest, config.training.hyperparameters)
    plugin = load_plugin(code)
    train = plugin.trainer()
    values = arguments.hyperparameters(
        train, plugin.search_space, given.rest, config.training.hyperparameters, str(code)
    )
    to = _model_folder(environment)
    log(f"{config.model.code}: train({', '.join(f'{name}={value}' for name, value in values.items())})")

    from accelerator.training import artifact

    with tempfile.TemporaryDirectory(prefix="data-") as scratch:
        splits = _data(config, environment, Path(scratch))
        _check_rows(splits, config)
        record = {
            "model": config.model.name,
            "hyperparameters": values,
            "seed": config.training.seed,
            "data": {name: {"source": data.source.place, "rows": len(data)} for name, data in splits.items()},
        }
        checkpoint = Checkpoint(_checkpoint_folder(environment), record)
        started = time.monotonic()
        model, found = _train(plugin, splits, values, checkpoint, config.training.seed)
        log(f"trained in {time.monotonic() - started:.1f} s")
        wanted = config.tuning.metric if config.tuning is not None else None
        measured = metrics.check(found, str(code), wanted)
        metrics.report(measured)
        artifact.save(model, measured, record, train=splits["train"], code=code, to=to)
        checkpoint.clear()
    log(f"saved the model to {to.uri} ({time.monotonic() - began:.1f} s in all)")


def log(message: str) -> None:
    """One line of progress in the job's log."""
    print(message, flush=True)


def _model_folder(environment: Mapping[str, str]) -> Folder:
    uri = environment.get("AIP_MODEL_DIR")
    if not uri:
        raise ConfigError(
            "AIP_MODEL_DIR is not set: there is nowhere to save the model",
            place="the environment of the job",
            next_step="Give the job a base_output_dir, from which Vertex AI sets it, or set it to a folder.",
        )
    to = folder(uri)
    to.check()
    return to


def _checkpoint_folder(environment: Mapping[str, str]) -> Folder | None:
    uri = environment.get("AIP_CHECKPOINT_DIR")
    return folder(uri) if uri else None


def _data(config: Config, environment: Mapping[str, str], scratch: Path) -> dict[str, Data]:
    """The splits that training takes, their columns looked up and no row read yet."""
    from accelerator.training import sources
    from accelerator.training.columns import Columns
    from accelerator.training.data import Data

    found = sources.splits(config, environment, scratch)
    source = found["train"]
    columns = Columns.of(source.schema(), config, source.place)
    train = Data("train", source, columns)
    missing = [name for name in columns.names if name not in found["validation"].schema().names]
    if missing:
        raise DataError(
            f"The validation rows have no column '{missing[0]}', which the training rows have",
            place=found["validation"].place,
            next_step="Make both from one query.",
        )
    return {"train": train, "validation": Data("validation", found["validation"], columns, train)}


def _check_rows(splits: Mapping[str, Data], config: Config) -> None:
    """Refuse rows that nothing can be learned from, before the trainer's time is spent on them."""
    for name, data in splits.items():
        profile = data.profile
        if not profile.rows:
            raise DataError(
                f"There are no rows in the {name} split"
                + (f": none of its {profile.unlabelled} rows has a label" if profile.unlabelled else ""),
                place=data.source.place,
                next_step=f"Check data.split.{name} against the times in the table; windows are in UTC."
                if config.data.split is not None and config.data.split.windows()
                else "Give more rows: each split needs some.",
            )
        log(
            f"{name}: {profile.rows:,} rows, {len(data.columns.features)} features from {data.source.place}"
            + (f"; {profile.unlabelled:,} rows without a label left out" if profile.unlabelled else "")
        )
        if len(profile.labels) < 2:
            (label,) = profile.labels
            message = f"The label '{data.columns.label}' is {label!r} in every row of the {name} split"
            if name == "train":
                raise DataError(
                    message,
                    place=data.source.place,
                    next_step="A model needs examples of each kind: check the label column and the split.",
                )
            log(f"warning: {message}: metrics such as AUC do not exist on it")
        for feature, nulls in profile.nulls.items():
            if nulls == profile.rows:
                log(f"warning: feature '{feature}' is NULL in every row of the {name} split")


def _train(
    plugin: Plugin, splits: Mapping[str, Data], values: Mapping[str, Any], checkpoint: Checkpoint, seed: int
) -> tuple[Any, Any]:
    """Call the user's `train`; what it raises becomes a CodeError that names their line."""
    train = plugin.trainer()
    named = inspect.signature(train).parameters
    extra = {name: value for name, value in {"seed": seed, "checkpoint": checkpoint}.items() if name in named}
    if checkpoint.state is not None and "checkpoint" in extra:
        log("going on from the checkpoint of an earlier run")
    _fix_seeds(seed)
    with checkpoint.guard(takes_checkpoint="checkpoint" in extra):
        result = _call(train, plugin, splits, {**values, **extra})
    if not isinstance(result, tuple) or len(result) != 2:
        raise CodeError(
            f"train returned {type(result).__name__}, not (model, metrics)",
            place=str(plugin.path),
            next_step='End train with `return model, {"auc": …}`.',
        )
    model, found = result
    if plugin.predictor is None and not hasattr(model, "predict"):
        raise CodeError(
            f"The model that train returned, a {type(model).__name__}, has no predict",
            place=str(plugin.path),
            next_step="Return a fitted model, or define a class Predictor that predicts with it.",
        )
    return model, found


def _call(train: Callable[..., Any], plugin: Plugin, splits: Mapping[str, Data], keywords: Mapping[str, Any]) -> Any:
    try:
        return train(splits["train"], splits["validation"], **keywords)
    except AcceleratorError:
        raise
    except MemoryError as error:
        raise CodeError(
            "train ran out of memory",
            place=place_of(error, plugin.path.parent),
            next_step="Read with `for batch in train.batches()`, or give training.machine more memory.",
        ) from error
    except SystemExit as error:
        raise CodeError(
            f"train ended the process itself: SystemExit({error.code!r})",
            place=place_of(error, plugin.path.parent),
            next_step="Return (model, metrics), or raise an error that says what is wrong.",
        ) from error
    except Exception as error:
        raise CodeError(
            f"train raised {type(error).__name__}: {error}",
            place=place_of(error, plugin.path.parent),
            next_step="Correct the training code; the stack trace is above.",
        ) from error


def _fix_seeds(seed: int) -> None:
    """Seed what draws at random in the libraries that are there, so that a run can be repeated."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
