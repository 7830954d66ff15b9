"""The flights example: its data, that no feature knows the future, and that it trains to an honest AUC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import sqlglot

from accelerator.config import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
TABLES = ("flights", "weather", "planes", "airports", "airlines")
SQL = "\n".join(
    sqlglot.transpile((EXAMPLE / "features.sql").read_text(), read="bigquery", write="duckdb", unsupported_level=None)
)


def warehouse(until: str = "2014-01-01") -> duckdb.DuckDBPyConnection:
    """The raw tables in DuckDB, flights before a local date."""
    connection = duckdb.connect()
    connection.execute("SET timezone = 'UTC'; CREATE SCHEMA flights")
    for name in TABLES:
        connection.execute(f"CREATE TABLE flights.{name} AS FROM '{EXAMPLE / 'data' / name}.parquet'")
    # what preprocessing makes of them: it puts one hour's weather aside and changes no value
    connection.execute("CREATE VIEW flights.flown AS FROM flights.flights")
    connection.execute("CREATE VIEW flights.observed AS FROM flights.weather WHERE coalesce(wind_speed, 0) <= 231")
    connection.execute(f"DELETE FROM flights.flights WHERE make_date(year, month, day) >= '{until}'")
    return connection


def departures(connection: duckdb.DuckDBPyConnection, where: str = "true") -> pd.DataFrame:
    connection.execute(SQL)
    order = "scheduled_departure, carrier, flight, origin, dest, tailnum"
    rows = connection.sql(f"FROM flights.departures WHERE {where} ORDER BY {order}")
    return rows.to_arrow_table().to_pandas()


def test_the_data_are_the_years_and_small():
    counts = {name: duckdb.sql(f"FROM '{EXAMPLE / 'data' / name}.parquet'").shape[0] for name in TABLES}
    assert counts == {"flights": 336_776, "weather": 26_115, "planes": 3_322, "airports": 1_458, "airlines": 16}
    assert sum(path.stat().st_size for path in (EXAMPLE / "data").iterdir()) < 10_000_000


def test_the_project_is_a_right_one_and_its_code_is_short():
    config = load(EXAMPLE, environment={})
    assert config.data.table == "flights.departures"
    assert len((EXAMPLE / "model.py").read_text().splitlines()) <= 40


def test_no_feature_knows_the_outcomes_of_its_own_day_or_later():
    day = "make_date(year, month, day) >= '2013-02-20'"
    where = "scheduled_departure >= '2013-02-20 05:00:00+00' AND scheduled_departure < '2013-02-21 05:00:00+00'"
    connection = warehouse(until="2013-02-23")
    before = departures(connection, where).drop(columns="late")
    connection.execute(f"UPDATE flights.flights SET arr_delay = 500, dep_delay = 500, arr_time = 1 WHERE {day}")
    after = departures(connection, where).drop(columns="late")
    # A flight that is cancelled in truth now arrives: only the rows of both are compared.
    keys = ["scheduled_departure", "carrier", "flight", "origin"]
    both = after.merge(before[keys], on=keys)
    assert len(before) > 900
    pd.testing.assert_frame_equal(both, before)


def test_the_weather_of_a_flight_was_observed_an_hour_before_it_leaves():
    connection = warehouse(until="2013-02-01")
    where = "scheduled_departure >= '2013-01-20 17:00:00+00' AND scheduled_departure < '2013-01-20 18:00:00+00'"
    before = departures(connection, where)
    # An observation of hour H is of some minute before H + 1: the last one known at 16:00 is that of 15.
    connection.execute(
        "UPDATE flights.weather SET temp = 0, precip = 9, pressure = 0 WHERE time_hour >= '2013-01-20 16:00+00'"
    )
    pd.testing.assert_frame_equal(departures(connection, where), before)
    connection.execute("UPDATE flights.weather SET temp = 0 WHERE time_hour = '2013-01-20 15:00+00'")
    assert set(departures(connection, where)["temp"]) == {0}


def test_a_days_history_is_known_before_the_first_decision_of_the_next_day():
    late = (
        warehouse()
        .execute("""
        WITH outcomes AS (
          SELECT make_date(year, month, day) AS day, time_hour + to_minutes(minute) AS departure,
            make_timestamp(year, month, day, sched_arr_time // 100, sched_arr_time % 100, 0)
              AT TIME ZONE tzone AS arrival
          FROM flights.flights JOIN flights.airports ON faa = dest
          WHERE hour < 20 AND tzone IS NOT NULL
        ), first AS (
          SELECT make_date(year, month, day) AS day, min(time_hour + to_minutes(minute)) AS departure
          FROM flights.flights WHERE hour >= 5 GROUP BY 1
        )
        SELECT count(*) AS flights, count(*) FILTER (
          WHERE arrival + CASE WHEN arrival < outcomes.departure THEN INTERVAL 1 DAY ELSE INTERVAL 0 DAY END
            + INTERVAL 15 MINUTE > first.departure - INTERVAL 1 HOUR) AS unknown
        FROM outcomes JOIN first ON first.day = outcomes.day + 1
    """)
        .fetchone()
    )
    assert late[0] > 290_000
    assert late[1] == 0


@pytest.mark.timeout(240)
def test_half_a_year_trains_to_an_honest_auc(tmp_path):
    connection = warehouse(until="2013-08-01")
    connection.execute(SQL)
    connection.execute(
        f"COPY (FROM flights.departures WHERE flight % 3 = 0) TO '{tmp_path / 'departures.parquet'}' (FORMAT parquet)"
    )
    environment = {
        **os.environ,
        "AIP_MODEL_DIR": str(tmp_path / "model"),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    settings = ["data.table=null", f"data.files=[{tmp_path / 'departures.parquet'}]", "project=my-project"]
    flags = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "accelerator.training", "--config", str(EXAMPLE / "mlops.yaml"), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    auc = json.loads((tmp_path / "model" / "metrics.json").read_text())["auc"]
    assert 0.70 < auc < 0.80, "lower: something is lost; higher: a feature knows the answer"
