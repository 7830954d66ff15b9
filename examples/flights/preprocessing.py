"""Raw rows to clean ones: what is wrong is put aside with its reason, not guessed at."""

import pyarrow as pa
import pyarrow.compute as pc

from accelerator.contract import Reject

FASTEST_WIND = 231  # miles an hour: Mount Washington, 1934


def weather(row):
    """An hour's observation at an airport."""
    if row["wind_speed"] is not None and row["wind_speed"] > FASTEST_WIND:
        raise Reject("a wind faster than any measured")
    if row["temp"] is not None and not -60 <= row["temp"] <= 130:
        raise Reject("a temperature that New York does not have")
    return row


def flights(batch):
    """Scheduled departures: times that the clock has, codes in one form."""
    hour, minute = batch.column("hour"), batch.column("minute")
    clock = pc.and_(pc.and_(pc.less(hour, 24), pc.less(minute, 60)), pc.greater_equal(hour, 0))
    reasons = pc.if_else(clock, pa.scalar(None, pa.string()), "a departure at no time of the clock")
    places = {
        name: pc.utf8_upper(pc.utf8_trim_whitespace(batch.column(name))) for name in ("origin", "dest", "carrier")
    }
    columns = [places.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema).filter(clock), reasons
