"""BigQuery on DuckDB: tables, SQL, and the REST and Storage APIs over them."""
