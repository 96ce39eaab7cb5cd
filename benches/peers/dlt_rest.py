"""The same job with dlt: its REST source, merged on the key, into the database at an address.

usage: dlt_rest.py API TO FOLDER {default|tuned}

Prints what it did as one line of JSON. FOLDER keeps dlt's state between runs.
"""

import json
import os
import resource
import sys

TUNED = {
    "DATA_WRITER__BUFFER_MAX_ITEMS": "100000",
    "DATA_WRITER__FILE_MAX_ITEMS": "100000",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "EXTRACT__WORKERS": "2",
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "2",
}


def destination(to, folder):
    import dlt

    if to.startswith("postgres://"):
        return dlt.destinations.postgres(to.replace("postgres://", "postgresql://"))
    # Without a primary key, merging scans the whole table for each change.
    if to.startswith("mysql://"):
        return dlt.destinations.sqlalchemy(to.replace("mysql://", "mysql+pymysql://"), create_primary_keys=True)
    return dlt.destinations.sqlalchemy(f"sqlite:///{to}", create_primary_keys=True)


def dataset(to):
    """Where the table goes: into the database itself, so that it can be compared."""
    if to.startswith("postgres://"):
        return "public"
    return to.rsplit("/", 1)[1] if to.startswith("mysql://") else "main"


def main(api, to, folder, settings):
    os.environ.update({"RUNTIME__LOG_LEVEL": "ERROR", "RUNTIME__DLTHUB_TELEMETRY": "false"})
    if settings == "tuned":
        os.environ.update(TUNED)
    import dlt
    from dlt.sources.rest_api import rest_api_source

    incremental = {"cursor_path": "updated_at", "initial_value": "2000-01-01T00:00:00Z"}
    if settings == "tuned":
        # No hashes of the rows at the border, which would not fit MariaDB's column for the state after a large change.
        incremental["range_start"] = "open"
    source = rest_api_source(
        {
            "client": {
                "base_url": api,
                "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"},
            },
            "resources": [
                {
                    "name": "records",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {
                        "path": "records",
                        "data_selector": "data",
                        "params": {"limit": 1000, "updated_since": "{incremental.start_value}"},
                        "incremental": incremental,
                    },
                }
            ],
        }
    )
    if settings == "tuned":
        source.max_table_nesting = 0
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=folder,
        destination=destination(to, folder),
        dataset_name=dataset(to),
    )
    file_format = "csv" if settings == "tuned" and to.startswith("postgres://") else None
    pipeline.run(source, loader_file_format=file_format).raise_on_failed_jobs()
    counts = pipeline.last_trace.last_normalize_info.row_counts if pipeline.last_trace.last_normalize_info else {}
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "records": counts.get("records", 0),
                "seconds": 0.0,
                "cpu_seconds": sum(of.ru_utime + of.ru_stime for of in used),
                "peak_mib": max(of.ru_maxrss for of in used) / 1024,
                "requests": 0,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
