"""Networks' weights as they were published: looked at by their hash before anything of them is opened."""

from __future__ import annotations

from pathlib import Path

from lnm.errors import UserError
from lnm.files import sha256

# of the files that `lnm footage --inception --networks` leaves in weights/; lnm/demo/ has them with their sources
KNOWN = {
    "inception-2015-12-05.pt": "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
    "rife-hdv3.safetensors": "688405221a6125d35a597c3940393c4ce27f3a4ef63b6e9c86914b9ca1175c86",
    "alexnet-features.safetensors": "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
}


def checked(path: Path, file: str, what: str, fetch: str) -> str:
    """The SHA-256 of a file that should be `file` of KNOWN. what: it is, in words; fetch: the option of `lnm footage`
    that brings it. Raises UserError for other bytes: a number by damaged or exchanged weights would look like any
    other, and a file may hold code."""
    found = sha256(path)
    if found != KNOWN[file]:
        raise UserError(f"{path}: not {what} as published (SHA-256 {found[:12]}, not {KNOWN[file][:12]}): "
                        f"delete it and run `lnm footage {fetch}`")
    return found
