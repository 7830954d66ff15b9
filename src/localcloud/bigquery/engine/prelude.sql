-- What DuckDB lacks of GoogleSQL, as macros. `fail` raises: a cast that must fail, its text between two marks,
-- because error() is volatile and DuckDB allows nothing volatile in TRY, which SAFE functions are made of.

CREATE MACRO bq.fail(m) AS CAST(CAST(chr(1) || m || chr(2) AS BIGINT) AS VARCHAR);
CREATE MACRO bq.utc(t) AS make_timestamp(epoch_us(t));
CREATE MACRO bq.stamp(t) AS make_timestamptz(epoch_us(t));
CREATE MACRO bq.float_string(x) AS
  CASE
    WHEN x = 0 THEN '0'
    WHEN CAST(printf('%.15g', x) AS DOUBLE) = x THEN printf('%.15g', x)
    ELSE printf('%.17g', x) END;
CREATE MACRO bq.numeric_string(x) AS
  CASE
    WHEN x = trunc(x) THEN CAST(CAST(trunc(x) AS DECIMAL(38, 0)) AS VARCHAR)
    ELSE rtrim(CAST(x AS VARCHAR), '0') END;
CREATE MACRO bq.fraction(m) AS
  CASE
    WHEN m = 0 THEN ''
    WHEN m % 1000 = 0 THEN '.' || lpad(CAST(m // 1000 AS VARCHAR), 3, '0')
    ELSE '.' || lpad(CAST(m AS VARCHAR), 6, '0') END;
CREATE MACRO bq.datetime_string(t) AS
  strftime(t, '%Y-%m-%d %H:%M:%S') || bq.fraction((epoch_us(t) % 1000000 + 1000000) % 1000000);
CREATE MACRO bq.timestamp_string(t) AS bq.datetime_string(bq.utc(t)) || '+00';
CREATE MACRO bq.offset_string(m) AS
  CASE WHEN m < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(m) // 60 AS VARCHAR), 2, '0')
  || CASE WHEN m % 60 = 0 THEN '' ELSE ':' || lpad(CAST(abs(m) % 60 AS VARCHAR), 2, '0') END;
CREATE MACRO bq.time_string(t) AS
  strftime(DATE '1970-01-01' + t, '%H:%M:%S') || bq.fraction(epoch_us(DATE '1970-01-01' + t) % 1000000);
CREATE MACRO bq.parse_int64(x) AS
  CASE
    WHEN regexp_full_match(trim(x), '[+-]?[0-9]+') THEN CAST(trim(x) AS BIGINT)
    WHEN regexp_full_match(trim(x), '0[xX][0-9a-fA-F]+') THEN CAST(trim(x) AS BIGINT)
    WHEN x IS NOT NULL THEN CAST(bq.fail('Bad int64 value: ' || x) AS BIGINT) END;
CREATE MACRO bq.parse_float64(x) AS
  CASE
    WHEN TRY_CAST(trim(x) AS DOUBLE) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Bad double value: ' || x) AS DOUBLE)
    ELSE TRY_CAST(trim(x) AS DOUBLE) END;
CREATE MACRO bq.parse_bool(x) AS
  CASE lower(trim(x))
    WHEN 'true' THEN TRUE
    WHEN 'false' THEN FALSE
    ELSE CASE
    WHEN x IS NOT NULL THEN CAST(bq.fail('Bad bool value: ' || x) AS BOOLEAN) END END;
CREATE MACRO bq.parse_numeric(x) AS
  CASE
    WHEN TRY_CAST(trim(x) AS DECIMAL(38, 9)) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Invalid NUMERIC value: ' || x) AS DECIMAL(38, 9))
    ELSE TRY_CAST(trim(x) AS DECIMAL(38, 9)) END;
CREATE MACRO bq.parse_bignumeric(x) AS
  CASE
    WHEN TRY_CAST(trim(x) AS DECIMAL(38, 18)) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Invalid BIGNUMERIC value: ' || x) AS DECIMAL(38, 18))
    ELSE TRY_CAST(trim(x) AS DECIMAL(38, 18)) END;
CREATE MACRO bq.parse_date(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_full_match(trim(x), '\d{1,4}-\d{1,2}-\d{1,2}') AND TRY_CAST(trim(x) AS DATE) IS NOT NULL THEN CAST(trim(x) AS DATE)
    ELSE CAST(bq.fail('Invalid date: ''' || x || '''') AS DATE) END;
CREATE MACRO bq.parse_datetime(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_full_match(trim(x), '\d{1,4}-\d{1,2}-\d{1,2}([ tT]+\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{0,6})?)?)?') AND TRY_CAST(trim(x) AS TIMESTAMP) IS NOT NULL THEN CAST(trim(x) AS TIMESTAMP)
    ELSE CAST(bq.fail('Invalid datetime string "' || x || '"') AS TIMESTAMP) END;
CREATE MACRO bq.parse_timestamp(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_matches(trim(x), '^\d{1,4}-\d{1,2}-\d{1,2}') AND TRY_CAST(trim(x) AS TIMESTAMPTZ) IS NOT NULL THEN CAST(trim(x) AS TIMESTAMPTZ)
    ELSE CAST(bq.fail('Invalid timestamp: ''' || x || '''') AS TIMESTAMPTZ) END;
CREATE MACRO bq.parse_time(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_full_match(trim(x), '\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{0,6})?)?') AND TRY_CAST(trim(x) AS TIME) IS NOT NULL THEN CAST(trim(x) AS TIME)
    ELSE CAST(bq.fail('Invalid time string "' || x || '"') AS TIME) END;
CREATE MACRO bq.round_int64(x) AS
  CASE
    WHEN isnan(x) OR isinf(x) THEN CAST(bq.fail('Illegal conversion of non-finite floating point number to an integer: ' || CAST(x AS VARCHAR)) AS BIGINT)
    WHEN abs(x) >= 9223372036854775808.0 THEN CAST(bq.fail('int64 out of range: ' || bq.float_string(x)) AS BIGINT)
    ELSE CAST(round(x) AS BIGINT) END;
CREATE MACRO bq.decode_utf8(x) AS
  CASE
    WHEN x IS NOT NULL AND TRY(decode(x)) IS NULL THEN bq.fail('Invalid UTF-8 string')
    ELSE TRY(decode(x)) END;
CREATE MACRO bq.divide(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.float_string(a) || ' / ' || bq.float_string(b)) AS DOUBLE)
    ELSE a / b END;
CREATE MACRO bq.divide_numeric(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.numeric_string(a) || ' / ' || bq.numeric_string(b)) AS DECIMAL(38, 9))
    ELSE bq_numeric_divide(a, b) END;
CREATE MACRO bq.divide_bignumeric(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.numeric_string(a) || ' / ' || bq.numeric_string(b)) AS DECIMAL(38, 18))
    ELSE bq_bignumeric_divide(a, b) END;
CREATE MACRO bq.div(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || a || ' / ' || b) AS BIGINT)
    WHEN b = -1 THEN -a
    ELSE (a - a % b) // b END;
CREATE MACRO bq.mod(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: MOD(' || a || ', ' || b || ')') AS BIGINT)
    WHEN b = -1 THEN 0
    ELSE a % b END;
CREATE MACRO bq.mod_numeric(a, b) AS
  CASE
    WHEN b = 0 THEN CAST(bq.fail('division by zero: MOD(' || bq.numeric_string(a) || ', ' || bq.numeric_string(b) || ')') AS DECIMAL(38, 9))
    ELSE CAST(a % b AS DECIMAL(38, 9)) END;
CREATE MACRO bq.safe_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END;
CREATE MACRO bq.sqrt(x) AS
  CASE
    WHEN x < 0 THEN CAST(bq.fail('Argument to SQRT cannot be negative: ' || bq.float_string(x)) AS DOUBLE)
    ELSE sqrt(x) END;
CREATE MACRO bq.ln(x) AS
  CASE
    WHEN x <= 0 THEN CAST(bq.fail('Argument to LN must be positive: ' || bq.float_string(x)) AS DOUBLE)
    ELSE ln(x) END;
CREATE MACRO bq.log(x, b) AS
  CASE
    WHEN x <= 0 OR b <= 0 OR b = 1 THEN CAST(bq.fail('Invalid argument to LOG: LOG(' || bq.float_string(x) || ', ' || bq.float_string(b) || ')') AS DOUBLE)
    ELSE ln(x) / ln(b) END;
CREATE MACRO bq.log10(x) AS
  CASE
    WHEN x <= 0 THEN CAST(bq.fail('Argument to LOG10 must be positive: ' || bq.float_string(x)) AS DOUBLE)
    ELSE log10(x) END;
CREATE MACRO bq.round_digits(x, n) AS
  CASE WHEN n > 15 OR isnan(x) OR isinf(x) THEN x ELSE round(x, CAST(n AS INTEGER)) END;
CREATE MACRO bq.trunc_digits(x, n) AS trunc(x * power(10e0, n)) / power(10e0, n);
CREATE MACRO bq.substr(x, p) AS
  CASE
    WHEN p < 0 AND -p > length(x) THEN x
    WHEN p < 0 THEN substring(x, CAST(length(x) + p + 1 AS BIGINT))
    ELSE substring(x, greatest(p, 1)) END;
CREATE MACRO bq.substr_length(x, p, n) AS
  CASE
    WHEN n < 0 THEN bq.fail('Third argument in SUBSTR() cannot be negative')
    ELSE left(bq.substr(x, p), n) END;
CREATE MACRO bq.substr_bytes(x, p, n) AS
  CASE
    WHEN n < 0 THEN CAST(bq.fail('Third argument in SUBSTR() cannot be negative') AS BLOB)
    ELSE bq_substr_bytes(x, p, n) END;
CREATE MACRO bq.repeat(x, n) AS
  CASE WHEN n < 0 THEN bq.fail('Second argument in REPEAT() cannot be negative') ELSE repeat(x, n) END;
CREATE MACRO bq.left(x, n) AS
  CASE WHEN n < 0 THEN bq.fail('Second argument in LEFT() cannot be negative') ELSE left(x, n) END;
CREATE MACRO bq.right(x, n) AS
  CASE WHEN n < 0 THEN bq.fail('Second argument in RIGHT() cannot be negative') ELSE right(x, n) END;
CREATE MACRO bq.lpad(x, n, p) AS
  CASE
    WHEN n < 0 THEN bq.fail('Second argument in LPAD() cannot be negative')
    WHEN p = '' THEN bq.fail('Third argument in LPAD() cannot be empty')
    ELSE lpad(x, CAST(n AS INTEGER), p) END;
CREATE MACRO bq.rpad(x, n, p) AS
  CASE
    WHEN n < 0 THEN bq.fail('Second argument in RPAD() cannot be negative')
    WHEN p = '' THEN bq.fail('Third argument in RPAD() cannot be empty')
    ELSE rpad(x, CAST(n AS INTEGER), p) END;
CREATE MACRO bq.split(x, d) AS
  CASE WHEN x = '' THEN [''] WHEN d = '' THEN string_split(x, '') ELSE string_split(x, d) END;
CREATE MACRO bq.replace(x, a, b) AS CASE WHEN a = '' THEN x ELSE replace(x, a, b) END;
CREATE MACRO bq.initcap(x, d) AS bq_initcap(x, d);
CREATE MACRO bq.instr(x, y, p, n) AS bq_instr(x, y, p, n);
CREATE MACRO bq.groups(r) AS regexp_matches(regexp_replace(r, '\\.|\[[^\]]*\]', '', 'g'), '\((\?P|[^?])');
CREATE MACRO bq.regexp_extract(x, r) AS
  CASE
    WHEN regexp_matches(x, r) THEN CASE
    WHEN bq.groups(r) THEN regexp_extract(x, r, 1)
    ELSE regexp_extract(x, r) END END;
CREATE MACRO bq.regexp_extract_all(x, r) AS
  CASE WHEN bq.groups(r) THEN regexp_extract_all(x, r, 1) ELSE regexp_extract_all(x, r) END;
CREATE MACRO bq.at(a, i) AS
  CASE
    WHEN a IS NULL OR i IS NULL THEN NULL
    WHEN i < 0 OR i >= len(a) THEN list_extract(a, CAST(CAST(bq.fail('Array index ' || i || ' is out of bounds') AS VARCHAR) AS BIGINT))
    ELSE list_extract(a, i + 1) END;
CREATE MACRO bq.at_safe(a, i) AS CASE WHEN i < 0 THEN NULL ELSE list_extract(a, i + 1) END;
CREATE MACRO bq.generate_array(a, b, s) AS
  CASE
    WHEN s = 0 THEN CAST([CAST(bq.fail('Sequence step cannot be 0.') AS BIGINT)] AS BIGINT[])
    WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL
    ELSE generate_series(a, b, s) END;
CREATE MACRO bq.generate_floats(a, b, s) AS
  CASE
    WHEN s = 0 THEN [CAST(bq.fail('Sequence step cannot be 0.') AS DOUBLE)]
    WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL
    WHEN (b - a) / s < 0 THEN CAST([] AS DOUBLE[])
    ELSE list_transform(range(CAST(floor((b - a) / s + 1e-12) AS BIGINT) + 1), lambda i: a + i * s) END;
CREATE MACRO bq.week_start(d, w) AS CAST(d AS DATE) - CAST((isodow(d) - w + 7) % 7 AS INTEGER);
CREATE MACRO bq.isoyear_start(d) AS bq.week_start(make_date(CAST(isoyear(d) AS BIGINT), 1, 4), 1);
CREATE MACRO bq.week_number(d, w) AS (dayofyear(d) - 1 + 7 - (isodow(d) - w + 7) % 7) // 7;
CREATE MACRO bq.add_months(d, n) AS CAST(d + to_months(CAST(n AS INTEGER)) AS DATE);
CREATE MACRO bq.add_time(t, us) AS
  CAST(make_timestamp(((epoch_us(DATE '1970-01-01' + t) + us) % 86400000000 + 86400000000) % 86400000000) AS TIME);
CREATE MACRO bq.time_us(t) AS epoch_us(DATE '1970-01-01' + t);
CREATE MACRO bq.add_us(t, us) AS make_timestamptz(epoch_us(t) + us);
CREATE MACRO bq.floor_div(a, b) AS (a - ((a % b) + b) % b) // b;
CREATE MACRO bq.strptime(x, f) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN TRY_STRPTIME(x, f) IS NULL THEN CAST(bq.fail('Failed to parse input string "' || x || '"') AS TIMESTAMP)
    ELSE TRY_STRPTIME(x, f) END;
CREATE MACRO bq.json_check(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN json_valid(x) THEN json(x)
    ELSE CAST(bq.fail('Invalid input to PARSE_JSON: syntax error while parsing value') AS JSON) END;
CREATE MACRO bq.json_text(j) AS
  CASE
    WHEN j IS NULL THEN NULL
    WHEN json_type(j) = 'VARCHAR' THEN j->>'$'
    ELSE bq.fail('The provided JSON input is not a string') END;
CREATE MACRO bq.json_int64(j) AS
  CASE
    WHEN j IS NULL THEN NULL
    WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN CAST(j->>'$' AS BIGINT)
    WHEN json_type(j) = 'DOUBLE' AND CAST(j->>'$' AS DOUBLE) = trunc(CAST(j->>'$' AS DOUBLE)) THEN CAST(CAST(j->>'$' AS DOUBLE) AS BIGINT)
    ELSE CAST(bq.fail('The provided JSON input is not an integer') AS BIGINT) END;
CREATE MACRO bq.json_float64(j) AS
  CASE
    WHEN j IS NULL THEN NULL
    WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(j->>'$' AS DOUBLE)
    ELSE CAST(bq.fail('The provided JSON input is not a number') AS DOUBLE) END;
CREATE MACRO bq.json_bool(j) AS
  CASE
    WHEN j IS NULL THEN NULL
    WHEN json_type(j) = 'BOOLEAN' THEN CAST(j->>'$' AS BOOLEAN)
    ELSE CAST(bq.fail('The provided JSON input is not a boolean') AS BOOLEAN) END;
CREATE MACRO bq.json_kind(j) AS
  CASE json_type(j)
    WHEN 'VARCHAR' THEN 'string'
    WHEN 'BIGINT' THEN 'number'
    WHEN 'UBIGINT' THEN 'number'
    WHEN 'DOUBLE' THEN 'number'
    WHEN 'BOOLEAN' THEN 'boolean'
    WHEN 'NULL' THEN 'null'
    WHEN 'ARRAY' THEN 'array'
    WHEN 'OBJECT' THEN 'object' END;
CREATE MACRO bq.json_scalar(x, p) AS
  CASE
    WHEN json_type(json_extract(x, p)) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL
    ELSE json_extract_string(x, p) END;
CREATE MACRO bq.json_found(x, p) AS
  CASE
    WHEN json_type(json_extract(x, p)) = 'NULL' THEN NULL
    ELSE CAST(json_extract(x, p) AS VARCHAR) END;
CREATE MACRO bq.json_array(x, p) AS
  CASE WHEN json_type(json_extract(x, p)) = 'ARRAY' THEN json_extract(x, p || '[*]') END;
CREATE MACRO bq.json_escape(x) AS CAST(to_json(x) AS VARCHAR);
CREATE MACRO bq.json_float(x) AS
  CASE
    WHEN isnan(x) OR isinf(x) THEN '"' || CASE
    WHEN isnan(x) THEN 'NaN'
    WHEN x > 0 THEN 'Infinity'
    ELSE '-Infinity' END || '"'
    ELSE bq.float_string(x) END;
CREATE MACRO bq.json_integer(x) AS
  CASE
    WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN '"' || x || '"'
    ELSE CAST(x AS VARCHAR) END;
CREATE MACRO bq.from_hex(x) AS
  CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_full_match(x, '([0-9a-fA-F]{2})*') THEN unhex(x)
    WHEN regexp_full_match(x, '[0-9a-fA-F]*') THEN unhex('0' || x)
    ELSE CAST(bq.fail('Failed to decode invalid hexadecimal string: ' || x) AS BLOB) END;
CREATE MACRO bq.bucket(x, a) AS
  CASE WHEN x IS NULL OR a IS NULL THEN NULL ELSE len(list_filter(a, lambda e: e <= x)) END;
