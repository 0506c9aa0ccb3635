"""Files of data sets that are known, but not read, and what to do with them."""

from __future__ import annotations

import re
from pathlib import PurePath

_NEVER = "is a file of Python objects, which are never unpickled, since that can run any code"
_SAVE = "load it where you trust it and save the arrays with numpy.savez(path, images=images, labels=labels)"
_KINDS = {
    (".pkl", ".pickle", ".pkl.gz", ".pickle.gz", ".joblib", ".p"): f"{_NEVER}; {_SAVE}",
    (".pt", ".pth"): f"is a file of PyTorch, which holds Python objects that are never unpickled; {_SAVE}",
    (".h5", ".hdf5", ".hdf", ".keras"): (
        "is an HDF5 file, which is not read; open it with h5py and save the arrays with numpy.savez(path, "
        "images=images, labels=labels)"
    ),
    (".tfrecord", ".tfrecords"): (
        "is a file of TensorFlow, which is not read; load it there and save the arrays with numpy.savez(path, "
        "images=images, labels=labels)"
    ),
    (".xlsx", ".xls", ".ods"): "is a spreadsheet, which is not read; save it as CSV there",
    (".rds", ".rda", ".rdata", ".sav", ".dta"): "is a file of a statistics program, which is not read; save it as CSV",
    (".arff",): "is a file of Weka or OpenML, which is not read; save it as CSV, or take it as Parquet from OpenML",
    (".jsonl", ".ndjson"): (
        "is JSON Lines, which is not read; save it as Parquet or CSV, or as one JSON array of objects with image and "
        "label"
    ),
    (".data", ".dat", ".names"): "is not known by its name; if it holds rows of numbers, rename it to .txt",
    (".t", ".scale", ".libsvm.bz2"): "is not known by its name; if it holds a table of LIBSVM, rename it to .svm",
    (".bz2", ".xz", ".lzma", ".zst", ".z"): "is packed in a way that is not read; unpack it, or pack it with gzip",
    (".rar", ".7z"): "is an archive that is not read; unpack it and give its folder",
}
_SHARD = re.compile(r"-[0-9]+-of-[0-9]+$")
_CIFAR = re.compile(r"data_batch_[0-9]|test_batch|batches\.meta")


def why_refused(name: str) -> str | None:
    """Return what a file of a known kind is and what to do with it, None if it is not known by its name."""
    name = _SHARD.sub("", PurePath(name).name.lower())
    for endings, text in _KINDS.items():
        if name.endswith(endings):
            return text
    return f"is a part of CIFAR in Python; it {_NEVER}; {_SAVE}" if _CIFAR.fullmatch(name) else None
