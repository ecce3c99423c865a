"""Mitai's errors about files and documents: one class for each thing a person would do differently.

    MitaiError
    └── LoadError                a file gave no document
        ├── UnreadableFile       the file system would not hand it over
        ├── OutsideRoots         a symlink leads outside the given folders, or nowhere
        ├── UnsupportedFormat    no loader reads this, or its name and its content disagree
        ├── EmptyDocument        there is no text in it
        ├── DocumentTooLarge     it is over a cap: bytes, unpacked bytes, memory or characters
        ├── EncryptedDocument    it cannot be read without a password
        ├── DamagedDocument      it breaks the rules of its format
        ├── UndecodableText      its character encoding could not be told with confidence
        ├── ParserTimeout        reading it took too long
        └── ParserCrashed        the parser process ended or misbehaved on it

Messages name formats, sizes and reasons, never the document's content.
"""

from __future__ import annotations

from mitai_crypto.errors import MitaiError


class LoadError(MitaiError):
    """A file gave no document; the rest of the run goes on."""


class UnreadableFile(LoadError):
    """The file system would not hand the file over."""

    default_hint = "Check that the file exists and that you may read it."


class OutsideRoots(LoadError):
    """A symlink leads outside the given folders, or nowhere; it was not followed."""

    default_hint = "Name the file or folder it points to, if you want that too."


class UnsupportedFormat(LoadError):
    """No loader reads this, or the file's name and its content disagree."""

    default_hint = "Supported are .txt, .md, .html, .pdf and .docx; save it as one of these."


class EmptyDocument(LoadError):
    """There is no text in the file."""

    default_hint = "If it is a scan, run text recognition on it first."


class DocumentTooLarge(LoadError):
    """The file, what it unpacks to, or its text is over a cap."""

    default_hint = "Split the document into parts."


class EncryptedDocument(LoadError):
    """The document cannot be read without a password."""

    default_hint = "Save a copy without a password, and ingest that."


class DamagedDocument(LoadError):
    """The file breaks the rules of its format."""

    default_hint = "Open it in the program that made it and save it again."


class UndecodableText(LoadError):
    """The character encoding of a text could not be told with confidence."""

    default_hint = "Save the file as UTF-8."


class ParserTimeout(LoadError):
    """Reading the file took longer than a file may take."""

    default_hint = "Split the document into parts."


class ParserCrashed(LoadError):
    """The parser process ended or misbehaved while it had this file."""

    default_hint = "The file may be damaged or made to attack parsers; nothing else was affected."
