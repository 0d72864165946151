"""Takes back what was never synced: the other half of tests/preload/power_loss.cpp.

forget(log, directory, seed) works on the data directory of a process that was killed: each sector
of each write that no sync covers comes back as it was, or stays, by a draw; or, as often, all such
writes from a drawn one on come back. Of the changes of names that no sync of the directory covers,
a drawn number from the last on is taken back. Returns how many writes and names were touched.
"""

import os
import pathlib
import random

SECTOR = 512


class Note:
    def __init__(self, line, content, number):
        words = line.decode().split(" ")
        self.kind = words[0]
        self.words = words[1:]
        self.content = content
        self.number = number


def read_notes(log):
    data = pathlib.Path(log).read_bytes()
    notes = []
    first = 0  # of the process that writes
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        line = data[at:end]
        at = end + 1
        length = int(line.split(b" ")[3]) if line[:1] in b"WT" else 0
        note = Note(line, data[at:at + length], len(notes))
        at += length
        if note.kind == "P":
            first = note.number
        elif note.kind in "SD":
            note.words[-1] = str(first + int(note.words[-1]))
        notes.append(note)
    return notes


def by_inode(directory):
    return {each.stat().st_ino: each for each in directory.iterdir()}


def synced(notes):
    """By inode: notes before this number are on the media."""
    covered = {}
    for note in notes:
        if note.kind == "S":
            inode, count = map(int, note.words)
            covered[inode] = max(covered.get(inode, 0), count)
    return covered


def has_unsynced(log, directory):
    """Whether a power loss could take writes now. The process that writes must stand still.

    Only files of the directory count: what the process tells its stderr is never synced.
    """
    if not pathlib.Path(log).exists():
        return False
    notes = read_notes(log)
    covered = synced(notes)
    files = by_inode(pathlib.Path(directory))
    return any(int(note.words[0]) in files and note.number >= covered.get(int(note.words[0]), 0)
               for note in notes if note.kind in ("W", "T"))


def forget_writes(notes, directory, draw, tail):
    covered = synced(notes)
    files = by_inode(directory)
    # Of the tail: all writes from a drawn one on, none before.
    first = draw.randrange(len(notes) + 1) if tail else 0
    share = 1.0 if tail else 0.5
    touched = 0
    sizes = {}
    for note in reversed(notes):
        if note.kind not in ("W", "T"):
            continue
        inode, offset, _, size = map(int, note.words)
        if note.number < max(first, covered.get(inode, 0)) or inode not in files:
            continue
        touched += 1
        with open(files[inode], "r+b") as file:
            for begin in range(0, len(note.content), SECTOR):
                if draw.random() < share:
                    file.seek(offset + begin)
                    file.write(note.content[begin:begin + SECTOR])
        sizes[inode] = size
    for inode, size in sizes.items():
        if draw.random() < share:
            os.truncate(files[inode], min(size, files[inode].stat().st_size))
    return touched


def forget_names(notes, directory, draw):
    covered = max([int(note.words[0]) for note in notes if note.kind == "D"], default=0)
    changes = [note for note in notes if note.kind in "CRU" and note.number >= covered]
    back = draw.randrange(len(changes) + 1)
    for note in reversed(changes[len(changes) - back:]):
        if note.kind == "C":
            (directory / note.words[0]).unlink(missing_ok=True)
        elif note.kind == "R":
            source, target, kept = note.words
            os.rename(directory / target, directory / source)
            if kept != "-":
                os.rename(directory / kept, directory / target)
        else:
            name, kept = note.words
            os.rename(directory / kept, directory / name)
    for each in directory.glob(".kept-*"):
        each.unlink()
    return back


def forget(log, directory, seed):
    directory = pathlib.Path(directory)
    if not pathlib.Path(log).exists():
        return 0, 0
    notes = read_notes(log)
    draw = random.Random(seed)
    writes = forget_writes(notes, directory, draw, tail=draw.random() < 0.5)
    names = forget_names(notes, directory, draw)
    pathlib.Path(log).unlink()
    return writes, names
