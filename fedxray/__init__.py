"""fedxray: federated, central and local training for pneumonia in chest X-rays, compared."""

__version__ = "0.1.0"
