"""fedxray: federated, central and alone training for pneumonia in chest X-rays, compared."""

__version__ = "0.1.0"
