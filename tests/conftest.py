"""Every test runs on one thread and never reaches a network."""

import os

# Set before torch and the hub's client are imported, which read them once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
