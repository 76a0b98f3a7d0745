"""A driver for a test to kill: ``cluster_driver.py ADDRESS WORKSPACE MEMBER`` runs a member on Ray."""

import sys
from pathlib import Path

import cluster_backbone
import cluster_runs

if __name__ == "__main__":
    address, workspace, member = sys.argv[1:]
    cluster_backbone.patch()
    cluster_runs.connect(address, Path(workspace).parent)
    cluster_runs.run(Path(workspace), cluster_runs.faulty(member), address)
