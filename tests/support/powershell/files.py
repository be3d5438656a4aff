"""The cmdlets for files that the scripts use, over a dictionary of lines by path."""

from typing import Any

from support.powershell.values import Table, items

NOUNS = ("Content", "Item", "Path")


def call(files: dict[str, list[str]], name: str, given: Table) -> list[Any]:
    """Do what a cmdlet does. New-Item makes folders, of which nothing is kept."""
    path = given["LiteralPath"] or given["Path"]
    if name == "Test-Path":
        return [path in files]
    if name == "Get-Content":
        return list(files[path])
    if name == "Set-Content":
        files[path] = list(items(given["Value"]))
    return []
