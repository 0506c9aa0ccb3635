"""Write a database as this version of fastnn makes it: ``python -m tests.web.write_database``.

Run it once for a release with another schema: later versions must read what this one wrote. The files in
``tests/fixtures`` were each written by the program of their version; ``test_old_databases.py`` reads all of them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from fastnn.datasets.database import import_dataset
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.drawn import drawn
from fastnn.datasets.schema import SCHEMA_VERSION
from fastnn.web.store import NewDigit, Score, Store

FOLDER = Path(__file__).parents[1] / "fixtures"
CLASSES = ("circle", "square", "star")


def write(folder: Path) -> Path:
    """Write the file, and return its path."""
    path = folder / f"database-{SCHEMA_VERSION}.db"
    path.unlink(missing_ok=True)
    url = f"sqlite:///{path}"
    store = Store(url, CLASSES)
    digits = drawn(9)
    imported = Dataset(digits.images[:3], digits.labels[:3] % 3, CLASSES, "shapes")
    import_dataset(imported, url, contributor="Ida")
    new = [
        NewDigit(f"00000000-0000-4000-8000-{k:012}", digits.images[k].tobytes(), k % 3, Score(1, k / 10))
        for k in range(3, 9)
    ]
    store.first_used("model")
    store.add(new[:3], "Ann", "model")
    store.add(new[3:], "", "model")
    store.desk.review(new[0].id, "accept", None, "Rita")
    store.desk.review(new[1].id, "relabel", 2, "Rita")
    store.desk.review(new[2].id, "reject", None, "")
    store.desk.review(new[3].id, "accept", None, "Paul")
    store.desk.review(new[3].id, "undo", None, "Paul")
    store.desk.queue(1, session="00000000-0000-4000-8000-00000000000a")
    store.note_training(5, "runs/web/first")
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        # A lease that has run out, whenever the file is read.
        database.execute("UPDATE fastnn_leases SET until = 1000").close()
        database.commit()
        # Small, and one file without a log.
        database.execute("PRAGMA journal_mode=DELETE").close()
        database.execute("PRAGMA page_size=512").close()
        database.execute("VACUUM").close()
    return path


if __name__ == "__main__":
    write(FOLDER)
