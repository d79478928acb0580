"""What every run needs: the loop, processes, checkpoints, figures."""
