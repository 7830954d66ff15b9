-- flights.departures: one row a flight that arrived, with what is known of it one hour before its scheduled
-- departure, and whether it then came in more than 15 minutes late. README.md says why these columns.
CREATE OR REPLACE TABLE flights.departures
PARTITION BY TIMESTAMP_TRUNC(scheduled_departure, MONTH)
CLUSTER BY origin, carrier
AS
WITH schedule AS (
  SELECT
    *,
    UNIX_DATE(DATE(year, month, day)) AS day_number,
    TIMESTAMP_ADD(time_hour, INTERVAL minute MINUTE) AS scheduled_departure,
    arr_delay > 15 AS late,
    -- That a flight is late is known 15 minutes after its scheduled arrival, however late it is. Flights that
    -- leave before 20:00 are known before the first decision of the next day; only they make up its history.
    IF(hour < 20 AND arr_delay IS NOT NULL, 1, 0) AS known,
    IF(hour < 20 AND arr_delay > 15, 1, 0) AS known_late
  FROM flights.flown
),
-- Shares of late flights over days before the flight's own.
origin_history AS (
  SELECT
    origin, day_number,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER yesterday, SUM(SUM(known)) OVER yesterday) AS origin_late_1d,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER week, SUM(SUM(known)) OVER week) AS origin_late_7d
  FROM schedule
  GROUP BY origin, day_number
  WINDOW
    yesterday AS (PARTITION BY origin ORDER BY day_number RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    week AS (PARTITION BY origin ORDER BY day_number RANGE BETWEEN 7 PRECEDING AND 1 PRECEDING)
),
carrier_history AS (
  SELECT
    carrier, day_number,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER yesterday, SUM(SUM(known)) OVER yesterday) AS carrier_late_1d,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER month, SUM(SUM(known)) OVER month) AS carrier_late_28d
  FROM schedule
  GROUP BY carrier, day_number
  WINDOW
    yesterday AS (PARTITION BY carrier ORDER BY day_number RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    month AS (PARTITION BY carrier ORDER BY day_number RANGE BETWEEN 28 PRECEDING AND 1 PRECEDING)
),
dest_history AS (
  SELECT
    dest, day_number,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER yesterday, SUM(SUM(known)) OVER yesterday) AS dest_late_1d,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER month, SUM(SUM(known)) OVER month) AS dest_late_28d
  FROM schedule
  GROUP BY dest, day_number
  WINDOW
    yesterday AS (PARTITION BY dest ORDER BY day_number RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    month AS (PARTITION BY dest ORDER BY day_number RANGE BETWEEN 28 PRECEDING AND 1 PRECEDING)
),
flight_history AS (
  SELECT
    carrier, flight, day_number,
    SAFE_DIVIDE(SUM(SUM(known_late)) OVER month, SUM(SUM(known)) OVER month) AS flight_late_28d
  FROM schedule
  GROUP BY carrier, flight, day_number
  WINDOW
    month AS (PARTITION BY carrier, flight ORDER BY day_number RANGE BETWEEN 28 PRECEDING AND 1 PRECEDING)
),
traffic AS (
  SELECT origin, time_hour, COUNT(*) AS departures_in_hour
  FROM flights.flown
  GROUP BY origin, time_hour
),
observed AS (
  SELECT
    origin, time_hour, temp, dewp, humid, wind_speed, wind_gust, precip, pressure, visib,
    pressure - LAG(pressure, 3) OVER hours AS pressure_change_3h,
    SUM(precip) OVER (hours ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS precip_6h
  FROM flights.observed
  WINDOW hours AS (PARTITION BY origin ORDER BY time_hour)
)
SELECT
  -- which flight
  schedule.scheduled_departure,
  schedule.flight,
  schedule.tailnum,
  schedule.month,
  -- the schedule
  schedule.carrier,
  schedule.origin,
  schedule.dest,
  schedule.distance,
  schedule.hour * 60 + schedule.minute AS minute_of_day,
  EXTRACT(DAYOFWEEK FROM DATE(schedule.year, schedule.month, schedule.day)) AS day_of_week,
  -- clock to clock: the destination's time zone is in it, the same for every flight there
  MOD(
    DIV(schedule.sched_arr_time, 100) * 60 + MOD(schedule.sched_arr_time, 100)
      - schedule.hour * 60 - schedule.minute + 1440,
    1440
  ) AS scheduled_minutes,
  traffic.departures_in_hour,
  -- the plane
  planes.seats,
  schedule.year - planes.year AS plane_age,
  -- the weather at the origin
  observed.temp,
  observed.dewp,
  observed.humid,
  observed.wind_speed,
  observed.wind_gust,
  observed.precip,
  observed.precip_6h,
  observed.pressure,
  observed.pressure_change_3h,
  observed.visib,
  -- days before
  origin_history.origin_late_1d,
  origin_history.origin_late_7d,
  carrier_history.carrier_late_1d,
  carrier_history.carrier_late_28d,
  dest_history.dest_late_1d,
  dest_history.dest_late_28d,
  flight_history.flight_late_28d,
  -- the label
  schedule.late
FROM schedule
LEFT JOIN traffic USING (origin, time_hour)
LEFT JOIN flights.planes USING (tailnum)
-- An hour's observation is complete when the hour is over: two hours before the hour of departure.
LEFT JOIN observed
  ON observed.origin = schedule.origin
  AND observed.time_hour = TIMESTAMP_SUB(schedule.time_hour, INTERVAL 2 HOUR)
LEFT JOIN origin_history
  ON origin_history.origin = schedule.origin AND origin_history.day_number = schedule.day_number
LEFT JOIN carrier_history
  ON carrier_history.carrier = schedule.carrier AND carrier_history.day_number = schedule.day_number
LEFT JOIN dest_history
  ON dest_history.dest = schedule.dest AND dest_history.day_number = schedule.day_number
LEFT JOIN flight_history
  ON flight_history.carrier = schedule.carrier
  AND flight_history.flight = schedule.flight
  AND flight_history.day_number = schedule.day_number
-- A flight that was cancelled or diverted never arrived, late or not.
WHERE schedule.late IS NOT NULL
