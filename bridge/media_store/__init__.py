"""Pictures, videos and other files that people send: looked at, cleaned, checked, and kept under the hash of their content."""

from bridge.media_store.blobs import Blob, BlobGoneError, Blobs, BlobsUnavailableError, DiskBlobs
from bridge.media_store.clean import MediaRefusedError, Reason
from bridge.media_store.kinds import CONTENT_TYPES, ENDINGS, SHOWN, sniff
from bridge.media_store.scan import CommandScanner, Scanner, Verdict
from bridge.media_store.store import Kept, MediaStore, Missing

__all__ = [
    "CONTENT_TYPES",
    "ENDINGS",
    "SHOWN",
    "Blob",
    "BlobGoneError",
    "Blobs",
    "BlobsUnavailableError",
    "CommandScanner",
    "DiskBlobs",
    "Kept",
    "MediaRefusedError",
    "MediaStore",
    "Missing",
    "Reason",
    "Scanner",
    "Verdict",
    "sniff",
]
