"""A notebook of a few cells."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def write_notebook(path, *cells, parameters='video = "ocean"\nsteps = 3'):
    """A notebook with a parameters cell (unless None) and these code cells."""
    book = new_notebook(cells=[new_markdown_cell("prose", id="prose")])
    if parameters is not None:
        cell = new_code_cell(parameters, id="parameters")
        cell.metadata["tags"] = ["parameters"]
        book.cells.append(cell)
    book.cells += [new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(cells)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)
    return path
