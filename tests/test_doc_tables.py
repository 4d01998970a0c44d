"""Tables in the docs are those of the data; after a change of the data write them anew with
``make tables``.
"""

from __future__ import annotations

import pytest
from doc_tables import TABLES, table_in, with_table


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_data(name: str, request: pytest.FixtureRequest) -> None:
    path, make = TABLES[name]
    page, table = path.read_text(encoding="utf-8"), make()
    if request.config.getoption("--rewrite-tables"):
        page = with_table(page, name, table)
        path.write_text(page, encoding="utf-8")
    assert table_in(page, name) == table, "run make tables"
