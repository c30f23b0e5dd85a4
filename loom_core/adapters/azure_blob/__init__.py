"""The ports on Azure Blob Storage, or on Azurite."""

from loom_core.adapters.azure_blob.blobs import AzureBlobStore
from loom_core.adapters.azure_blob.locks import BlobLeaseLockManager

__all__ = ["AzureBlobStore", "BlobLeaseLockManager"]
